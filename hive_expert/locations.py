"""Where things live on the user's machine. `HIVE_HOME` moves all of it into one folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def _home(kind: str, default: str) -> Path:
    root = os.environ.get("HIVE_HOME")
    return Path(root) / kind if root else Path(default)


def config_dir() -> Path:
    """Settings, keys and the trust store (`~/.config/hive`)."""
    return _home("config", platformdirs.user_config_dir("hive"))


def data_dir() -> Path:
    """Imported base models and the package store (`~/.local/share/hive`)."""
    return _home("data", platformdirs.user_data_dir("hive"))


def keys_dir() -> Path:
    return config_dir() / "keys"


def trust_store() -> Path:
    return config_dir() / "trust.json"


def models_dir() -> Path:
    return data_dir() / "models"


def package_store() -> Path:
    """Verified packages, each in a folder named by its digest."""
    return data_dir() / "store"


def repositories_dir() -> Path:
    """What was fetched of git repositories, so that an interrupted fetch goes on."""
    return data_dir() / "repositories"


def indexes_dir() -> Path:
    """The verified metadata of the indexes in use, each in a folder of its name."""
    return data_dir() / "indexes"


def checks_file() -> Path:
    """What `hive check` found."""
    return data_dir() / "checks.json"


def kept_answers_dir() -> Path:
    """Answers of checks that were stopped before their end."""
    return data_dir() / "checks"


def jobs_dir() -> Path:
    """Files of batches, and the database of their state."""
    return data_dir() / "jobs"


def indexes_file() -> Path:
    """Which indexes are in use, and the key each is believed by."""
    return config_dir() / "indexes.json"
