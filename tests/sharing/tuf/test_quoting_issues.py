"""Names of roles that would mean something to a server or a file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sharing.tuf.repository import Client, TufRepository
from tests.sharing.tuf.test_updater_delegation_graphs import delegate, is_refused


@pytest.mark.parametrize("name", ["?", "#", "/delegatedrole", "../delegatedrole"])
def test_unusual_role_name(seen: Client, repo: TufRepository, name: str, tmp_path: Path) -> None:
    def files() -> set[Path]:
        return {path for path in tmp_path.rglob("*") if not path.is_relative_to(seen.state)}

    before = files()
    delegate(repo, [("targets", name)])
    is_refused(seen, {name})
    assert files() == before
