"""Fixtures of the package tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from hive_expert.package.store import PackageStore
from tests.package.samples import key, package


@pytest.fixture
def store(tmp_path: Path) -> PackageStore:
    return PackageStore(tmp_path / "store")


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """The sample expert, packed and signed by Ann."""
    return package(tmp_path, key("Ann"))


@pytest.fixture
def unsigned(tmp_path: Path) -> Path:
    """The sample expert, packed and not signed."""
    return package(tmp_path)
