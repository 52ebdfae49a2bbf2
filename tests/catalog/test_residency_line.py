"""When all places are in use: who waits first goes first, whatever keeps the places in use."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from hive_expert.catalog.catalog import Expert
from hive_expert.catalog.residency import Resident
from hive_expert.engine.fake import FakeEngine
from hive_expert.errors import AdapterError, BusyError
from tests.catalog.test_residency import several

SOON_S = 30


class Guest:
    """Somebody who uses an expert until told to go."""

    def __init__(self, resident: Resident, expert: Expert) -> None:
        self.inside = asyncio.Event()
        self._go = asyncio.Event()
        self._task = asyncio.create_task(self._stay(resident, expert))

    async def _stay(self, resident: Resident, expert: Expert) -> None:
        async with resident.using(expert):
            self.inside.set()
            await self._go.wait()

    async def is_in(self) -> bool:
        """Whether it has got in, once everything has happened that an engine without delay does."""
        for _ in range(100):
            await asyncio.sleep(0)
        return self.inside.is_set()

    async def go(self) -> None:
        self._go.set()
        await self._task

    async def give_up(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def test_who_asks_for_what_is_in_use_waits_behind_a_load(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(), capacity=1)
    a, b = several(tmp_path, 2)
    first = Guest(resident, a)
    assert await first.is_in()
    waiting = Guest(resident, b)
    assert not await waiting.is_in()
    later = Guest(resident, a)
    assert not await later.is_in()
    await first.go()
    assert await waiting.is_in()
    assert not await later.is_in()
    await waiting.go()
    assert await later.is_in()
    await later.go()


@pytest.mark.parametrize("capacity", [1, 2])
async def test_users_that_overlap_for_ever_keep_nobody_out(tmp_path: Path, capacity: int) -> None:
    engine = FakeEngine(delay=0.001)
    resident = Resident(engine, capacity)
    *busy, rare = several(tmp_path, capacity + 1)
    served = 0

    async def use_again_and_again(expert: Expert) -> None:
        nonlocal served
        while True:
            async with resident.using(expert):
                served += 1
                await asyncio.sleep(0.005)

    # Two for each, half a use apart: one of them is always there.
    users: list[asyncio.Task[None]] = []
    for expert in (*busy, *busy):
        users.append(asyncio.create_task(use_again_and_again(expert)))
        await asyncio.sleep(0.0025)
    for _ in range(5):
        await asyncio.wait_for(resident.ensure(rare), SOON_S)
    before = served
    await asyncio.sleep(0.1)
    assert served > before
    for user in users:
        user.cancel()
    await asyncio.gather(*users, return_exceptions=True)


async def test_who_waits_first_is_served_first(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(), capacity=1)
    a, b, c, d = several(tmp_path, 4)
    first = Guest(resident, a)
    assert await first.is_in()
    line = [Guest(resident, expert) for expert in (b, c, b, a, d)]
    assert not await line[-1].is_in()
    await first.go()
    for places in ((0, 2), (1,), (3,), (4,)):  # those who wait for the same share a load
        assert await line[places[0]].is_in()
        assert places == tuple(i for i, one in enumerate(line) if one.inside.is_set())
        for place in places:
            await line[place].go()
            line[place].inside.clear()


async def test_one_place_is_closed_for_each_load_that_waits(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(), capacity=3)
    *in_use, b, c = several(tmp_path, 5)
    users = [Guest(resident, expert) for expert in in_use]
    assert await users[-1].is_in()
    waiting = [Guest(resident, expert) for expert in (b, c)]
    assert not await waiting[-1].is_in()
    newcomers = [Guest(resident, expert) for expert in in_use]
    assert [await one.is_in() for one in newcomers] == [False, False, True]
    # Another place than the one that is kept for it will do as well.
    await users[2].go()
    await newcomers[2].go()
    assert await waiting[0].is_in()
    assert [await one.is_in() for one in newcomers[:2]] == [False, True]
    await waiting[1].give_up()
    assert await newcomers[0].is_in()
    for one in (users[0], users[1], newcomers[0], newcomers[1], waiting[0]):
        await one.go()


async def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(), capacity=1, wait_s=0.05)
    a, b = several(tmp_path, 2)
    user = Guest(resident, a)
    assert await user.is_in()
    with pytest.raises(BusyError, match="all 1 places"):
        await resident.ensure(b)
    # And who has given up keeps nobody out.
    assert (await resident.ensure(a)).where == "hit"
    await user.go()
    assert (await resident.ensure(b)).where == "disk"


async def test_the_limit_is_for_the_place_and_not_for_the_load(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(delay=0.1), capacity=1, wait_s=0.02)
    (a,) = several(tmp_path, 1)
    assert (await resident.ensure(a)).where == "disk"


async def test_a_released_expert_answers_those_in_line_and_leaves(tmp_path: Path) -> None:
    engine = FakeEngine()
    resident = Resident(engine, capacity=1)
    old, new = several(tmp_path, 2)
    user = Guest(resident, old)
    assert await user.is_in()
    waiting = Guest(resident, new)
    assert not await waiting.is_in()
    late = Guest(resident, old)
    assert not await late.is_in()
    assert not await resident.release(old)
    await user.go()
    assert await waiting.is_in()
    await waiting.go()
    assert await late.is_in()
    assert [name for name, _ in engine.adapters.values()] == [old.engine_name]
    await late.go()
    assert engine.adapters == {}


async def test_a_load_that_fails_lets_the_next_one_go(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(), capacity=1)
    a, b, c = several(tmp_path, 3)
    broken = replace(b, adapter=tmp_path / "absent")
    user = Guest(resident, a)
    assert await user.is_in()
    failing = asyncio.create_task(resident.ensure(broken))
    waiting = Guest(resident, c)
    assert not await waiting.is_in()
    await user.go()
    with pytest.raises(AdapterError):
        await failing
    assert await waiting.is_in()
    await waiting.go()


async def test_a_place_that_is_unpinned_goes_to_who_waits(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(), capacity=1)
    a, b = several(tmp_path, 2)
    await resident.ensure(a)
    resident.pin(frozenset({a.digest}))
    waiting = Guest(resident, b)
    assert not await waiting.is_in()
    # A pinned one is not closed: it would not leave.
    assert (await resident.ensure(a)).where == "hit"
    resident.pin(frozenset())
    assert await waiting.is_in()
    await waiting.go()


async def test_where_there_is_room(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(), capacity=1)
    a, b = several(tmp_path, 2)
    assert resident.has_room(a)
    user = Guest(resident, a)
    assert await user.is_in()
    assert (resident.has_room(a), resident.has_room(b)) == (True, False)
    await user.go()
    assert resident.has_room(b)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("capacity", [1, 2, 3])
async def test_any_order_of_requests_ends_well(tmp_path: Path, capacity: int, seed: int) -> None:
    """Requests, some of which give up, releases and pins: each ends, and nothing is left behind."""
    engine, random = FakeEngine(delay=0.0003), Random(seed)
    resident = Resident(engine, capacity)
    experts = several(tmp_path, 6)
    ended = 0

    async def use() -> None:
        nonlocal ended
        await asyncio.sleep(random.random() / 5)
        one = random.choice(experts)
        with suppress(TimeoutError):
            patience = random.choice((SOON_S, SOON_S, random.random() / 50))
            async with asyncio.timeout(patience), resident.using(one):
                assert one.engine_name in {name for name, _ in engine.adapters.values()}
                assert len(engine.adapters) <= capacity
                await asyncio.sleep(random.random() / 300)
        ended += 1

    async def disturb() -> None:
        await asyncio.sleep(random.random() / 5)
        if random.random() < 0.5:
            await resident.release(random.choice(experts))
        else:
            resident.pin(frozenset(e.digest for e in random.sample(experts, capacity - 1)))

    tasks = [use() if i % 5 else disturb() for i in range(300)]
    await asyncio.wait_for(asyncio.gather(*tasks), SOON_S)
    assert ended == 240
    assert not any(resident.users(one) for one in experts)
    resident.pin(frozenset())
    for one in experts:
        # Nothing is closed, and no place is lost.
        await asyncio.wait_for(resident.ensure(one), SOON_S)
    assert len(engine.adapters) == capacity


class Watched(FakeEngine):
    """Notes whom it loads, and who has waited longest then."""

    def __init__(self) -> None:
        super().__init__(delay=0.0003)
        self.waiting: list[str] = []
        self.loaded: list[tuple[str, str]] = []

    async def add_adapter(self, name: str, adapter_id: int, path: Path) -> None:
        self.loaded.append((name, self.waiting[0]))
        await super().add_adapter(name, adapter_id, path)


@pytest.mark.parametrize("seed", range(5))
async def test_the_one_that_is_loaded_is_whom_somebody_has_waited_for_longest(
    tmp_path: Path, seed: int
) -> None:
    engine, random = Watched(), Random(seed)
    resident = Resident(engine, capacity=1)
    experts = several(tmp_path, 5)

    async def use(one: Expert) -> None:
        engine.waiting.append(one.engine_name)
        async with resident.using(one):
            engine.waiting.remove(one.engine_name)
            await asyncio.sleep(random.random() / 100)

    async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as users:
        for _ in range(200):
            users.create_task(use(random.choice(experts)))
            await asyncio.sleep(random.random() / 200)
    assert len(engine.loaded) > 20
    assert all(name == longest for name, longest in engine.loaded)
