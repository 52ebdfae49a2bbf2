"""What direct answers cost is saved too, and comes back with the next server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy.exc import OperationalError

from hive_expert.jobs import recorder as recorder_module
from hive_expert.jobs.changes import Changes
from hive_expert.jobs.recorder import Recorder
from hive_expert.serving.ledger import Ledger
from tests.jobs.conftest import ALICE, Start

T = TypeVar("T")


class Away:
    """A database that is away at first."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.tokens = 0

    def record(self, _: Any, spent: dict[Any, int]) -> None:
        if self.failures:
            self.failures -= 1
            raise OperationalError("", None, Exception())
        self.tokens += sum(spent.values())


async def at_once(function: Callable[[], T]) -> T:
    return function()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "SAVE_S", 0.02)


async def test_tokens_are_saved_once_however_often_the_database_is_away() -> None:
    store: Any = Away(failures=2)
    ledger = Ledger()
    recorder = Recorder(store, ledger, at_once, Changes())
    running = asyncio.create_task(recorder.run())
    for _ in range(3):
        ledger.add("alice", 7)
        await asyncio.sleep(0.03)
    async with asyncio.timeout(60):
        while store.tokens < 21:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    ledger.add("alice", 1)
    await recorder.end()
    assert store.tokens == 22


async def test_the_next_server_knows_what_direct_answers_have_cost(start: Start) -> None:
    first = await start()
    await first.client(ALICE).chat.completions.create(
        model="fake", messages=[{"role": "user", "content": "x"}], max_tokens=9
    )
    async with asyncio.timeout(60):
        while not first.jobs.store.spent():
            await asyncio.sleep(0.02)
    assert list(first.jobs.store.spent().values()) == [9]
