"""The tiny base model and its adapters, made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hive_expert.adapters.base_weights import BaseWeights
from tests.adapters import tiny


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base` and one PEFT directory for each of `tiny.CONFIGS`."""
    root = tmp_path_factory.mktemp("tiny")
    tiny.save_base(root / "base")
    for name, config in tiny.CONFIGS.items():
        tiny.train(config, root / name)
    return root


@pytest.fixture
def base(trained: Path) -> BaseWeights:
    return BaseWeights(trained / "base")


@pytest.fixture
def adapter(trained: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a trained adapter, to be spoiled."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(trained / name, tmp_path / name))

    return copy
