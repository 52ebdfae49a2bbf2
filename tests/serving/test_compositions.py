"""Compositions that are built: how many there are, in memory and on disk."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hive_expert.adapters.store import AdapterStore
from hive_expert.errors import AdapterError, EngineError, Problem
from hive_expert.package.folders import FolderStore
from hive_expert.serving.compositions import Compositions


class Engine:
    """What has them in memory, and may fail to let go."""

    def __init__(self) -> None:
        self.fails = False

    async def release(self, _: object) -> None:
        if self.fails:
            raise EngineError(Problem("", "the engine is busy"))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "adapters", AdapterError)


@pytest.fixture
def compositions(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> Compositions:
    def build(composition: Any, _host: object, *, cut: bool) -> Any:
        with store.staging() as staged:
            (staged / "weights").write_bytes(b"x")
            place = store.adopt(staged, composition.digest)
        return SimpleNamespace(adapter=place, relative_error=0.0)

    monkeypatch.setattr("hive_expert.serving.compositions.build", build)
    host: Any = SimpleNamespace(adapters=AdapterStore(store.root))
    engine: Any = Engine()
    return Compositions(host, engine, limit=2)


async def ask(compositions: Compositions, digest: str) -> None:
    asked: Any = SimpleNamespace(digest=digest, engine_name=digest, load_order=0, members=("a",))
    async with compositions.using(asked, lambda: {"a"}):
        pass


async def test_what_had_to_go_leaves_nothing_on_disk(
    compositions: Compositions, store: FolderStore
) -> None:
    for number in range(6):
        await ask(compositions, f"weight-{number}")
    assert len(compositions) == 2
    assert store.names() == {"weight-4", "weight-5"}
    await ask(compositions, "weight-0")
    assert store.names() == {"weight-5", "weight-0"}


async def test_what_the_engine_keeps_stays_on_disk(
    compositions: Compositions, store: FolderStore
) -> None:
    engine: Any = compositions.resident
    engine.fails = True
    for number in range(3):
        await ask(compositions, f"weight-{number}")
    assert len(compositions) == 2
    assert store.names() == {"weight-0", "weight-1", "weight-2"}
