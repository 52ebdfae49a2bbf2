"""What a server's inventory makes of the directory while experts are installed into it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from hive_expert.errors import CatalogError
from hive_expert.package.trust import Policy
from hive_expert.package.trust_store import TrustStore
from hive_expert.sharing.compatibility import Target
from hive_expert.sharing.install import Site as Rules
from hive_expert.sharing.install import install, uninstall, update
from hive_expert.sharing.source import GitSource
from tests.catalog.site import Site, write_sources
from tests.catalog.test_scan import BASE
from tests.sharing.world import Repository

NAME = "expert-lora"


@pytest.fixture
def site(tmp_path: Path, home: Path) -> Site:
    (tmp_path / "server").mkdir()
    return Site.at(tmp_path / "server", write_sources(tmp_path / "sources"))


def rules(site: Site) -> Rules:
    """The user's `hive` beside the server: the same directory, base and trust store."""
    trust = TrustStore.load(site.directory.parent / "trust.json")
    return Rules(site.directory, Target((BASE,), None), trust, Policy.ENFORCE)


def test_each_change_is_followed_without_a_restart(site: Site, repository: Repository) -> None:
    repository.put(site.packed(NAME, "0.1.0"))
    install([GitSource(repository.url)], rules(site))
    site.ready()
    assert site.find(NAME) == "0.1.0"
    repository.put(site.packed(NAME, "0.2.0"))
    update([], rules(site))
    site.ready()
    assert site.find(NAME) == "0.2.0"
    install([GitSource(repository.url, "0.1.0")], rules(site), pin=True)
    site.ready()
    assert site.find(NAME) == "0.1.0"
    uninstall([NAME], rules(site))
    site.ready()
    with pytest.raises(CatalogError):
        site.find(NAME)


def test_at_no_moment_is_it_missing(
    site: Site, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at after each step of a change: the old version is there, or the new one."""
    repository.put(site.packed(NAME, "0.1.0"))
    install([GitSource(repository.url)], rules(site))
    site.ready()
    seen = [site.find(NAME)]
    looks = False

    def looking(original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal looks
            result = original(*arguments, **options)
            if not looks:  # the server's own files change as well when it looks
                looks = True
                site.ready()
                seen.append(site.find(NAME))
                looks = False
            return result

        return step

    for name in ("rename", "replace", "unlink"):
        monkeypatch.setattr(Path, name, looking(getattr(Path, name)))
    repository.put(site.packed(NAME, "0.2.0"))
    update([], rules(site))
    install([GitSource(repository.url, "0.1.0")], rules(site), pin=True)
    monkeypatch.undo()
    changes = [version for version, _ in groupby(seen)]
    assert changes == ["0.1.0", "0.2.0", "0.1.0"]
