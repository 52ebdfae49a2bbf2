from __future__ import annotations

from pathlib import Path

import pytest

from tests.sharing.tuf.repository import FIRST, Client, TufRepository


@pytest.fixture
def repo() -> TufRepository:
    return TufRepository()


@pytest.fixture
def client(repo: TufRepository, tmp_path: Path) -> Client:
    """One that has not seen the index yet."""
    return Client(tmp_path / "state", repo)


@pytest.fixture
def seen(client: Client) -> Client:
    """One that has seen its first state."""
    client.refresh()
    assert client.versions() == FIRST
    return client
