"""Fixtures of the sharing tests: a publisher and a user, each with folders of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sharing.world import Repository, User


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def user(home: Path) -> User:
    return User(home)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.at(tmp_path / "repositories" / "experts")
