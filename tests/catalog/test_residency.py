"""An expert is loaded once, however many ask for it together, and leaves when nobody uses it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from hive_expert.catalog.catalog import Expert
from hive_expert.catalog.residency import Resident
from hive_expert.engine.fake import FakeEngine
from hive_expert.errors import AdapterError
from tests.catalog.test_catalog import expert


async def test_the_first_request_loads_and_the_next_hits(tmp_path: Path) -> None:
    engine = FakeEngine()
    resident = Resident(engine)
    sql = replace(expert(), adapter=tmp_path)
    assert not resident.holds(sql)
    first = await resident.ensure(sql)
    assert (first.where, first.load_ms >= 0) == ("disk", True)
    assert (await resident.ensure(sql)).where == "hit"
    assert resident.holds(sql)
    assert engine.loads == 1


async def test_requests_that_come_together_share_one_load(tmp_path: Path) -> None:
    engine = FakeEngine(delay=0.01)
    resident = Resident(engine)
    sql = replace(expert(), adapter=tmp_path)
    found = await asyncio.gather(*(resident.ensure(sql) for _ in range(20)))
    assert engine.loads == 1
    assert [r.where for r in found].count("disk") == 1


async def test_two_digests_never_share_an_id(tmp_path: Path) -> None:
    engine = FakeEngine(delay=0.001)
    resident = Resident(engine)
    experts = [replace(expert(digest=f"{i:02x}" * 32), adapter=tmp_path) for i in range(10)]
    await asyncio.gather(*(resident.ensure(e) for e in experts))
    assert {name for name, _ in engine.adapters.values()} == {e.engine_name for e in experts}


async def test_a_failed_load_is_tried_again(tmp_path: Path) -> None:
    engine = FakeEngine()
    resident = Resident(engine)
    sql = replace(expert(), adapter=tmp_path / "later")
    with pytest.raises(AdapterError):
        await resident.ensure(sql)
    assert not resident.holds(sql)
    (tmp_path / "later").mkdir()
    assert (await resident.ensure(sql)).where == "disk"


async def test_a_released_expert_is_gone_and_comes_back_under_another_id(tmp_path: Path) -> None:
    engine = FakeEngine()
    resident = Resident(engine)
    sql = replace(expert(), adapter=tmp_path)
    await resident.ensure(sql)
    first = set(engine.adapters)
    assert await resident.release(sql)
    assert engine.adapters == {}
    assert not resident.holds(sql)
    assert (await resident.ensure(sql)).where == "disk"
    assert first.isdisjoint(engine.adapters)


async def test_releasing_what_is_not_there_does_nothing(tmp_path: Path) -> None:
    assert await Resident(FakeEngine()).release(replace(expert(), adapter=tmp_path))


async def test_an_expert_in_use_leaves_when_its_last_user_is_done(tmp_path: Path) -> None:
    engine = FakeEngine()
    resident = Resident(engine)
    sql = replace(expert(), adapter=tmp_path)
    async with resident.using(sql) as first:
        assert first.where == "disk"
        async with resident.using(sql) as second:
            assert second.where == "hit"
            assert not await resident.release(sql)
            assert len(engine.adapters) == 1
        assert len(engine.adapters) == 1
    assert engine.adapters == {}
    assert engine.loads == 1


async def test_who_asks_before_it_has_left_keeps_it(tmp_path: Path) -> None:
    engine = FakeEngine()
    resident = Resident(engine)
    sql = replace(expert(), adapter=tmp_path)
    async with resident.using(sql):
        await resident.release(sql)
        assert (await resident.ensure(sql)).where == "hit"
    assert len(engine.adapters) == 1


async def test_a_user_that_fails_still_leaves(tmp_path: Path) -> None:
    engine = FakeEngine()
    resident = Resident(engine)
    sql = replace(expert(), adapter=tmp_path)
    with pytest.raises(LookupError):
        async with resident.using(sql):
            await resident.release(sql)
            raise LookupError
    assert engine.adapters == {}


def several(tmp_path: Path, count: int) -> list[Expert]:
    return [replace(expert(digest=f"{i:02x}" * 32), adapter=tmp_path) for i in range(count)]


async def test_a_full_memory_gives_the_place_of_the_one_used_longest_ago(tmp_path: Path) -> None:
    engine = FakeEngine()
    resident = Resident(engine, capacity=2)
    a, b, c = several(tmp_path, 3)
    for one in (a, b, a, c):
        await resident.ensure(one)
    assert [resident.holds(one) for one in (a, b, c)] == [True, False, True]
    assert len(engine.adapters) == 2
    assert (resident.evictions[b.digest], resident.loads[a.digest]) == (1, 1)


async def test_a_pinned_one_is_not_evicted_but_can_be_released(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(), capacity=1)
    a, b = several(tmp_path, 2)
    await resident.ensure(a)
    resident.pinned = frozenset({a.digest})
    waiting = asyncio.create_task(resident.ensure(b))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    assert await resident.release(a)
    assert (await waiting).where == "disk"


async def test_whoever_finds_all_places_in_use_waits_for_one(tmp_path: Path) -> None:
    engine = FakeEngine(delay=0.001)
    resident = Resident(engine, capacity=1)
    a, b, c = several(tmp_path, 3)
    async with resident.using(a):
        waiting = [asyncio.create_task(resident.ensure(one)) for one in (b, c)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)
        assert resident.holds(a)
    await asyncio.wait_for(asyncio.gather(*waiting), 60)
    assert len(engine.adapters) == 1


async def test_a_request_that_gives_up_waiting_takes_no_place(tmp_path: Path) -> None:
    engine = FakeEngine(delay=0.01)
    resident = Resident(engine, capacity=1)
    a, b = several(tmp_path, 2)
    gone = asyncio.create_task(resident.ensure(a))
    await asyncio.sleep(0.001)
    gone.cancel()
    # What it began to load is known all the same, and gives its place away.
    await asyncio.wait_for(resident.ensure(b), 60)
    assert [name for name, _ in engine.adapters.values()] == [b.engine_name]
    assert not resident.users(a)


async def test_a_failed_load_gives_its_place_back(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(), capacity=1)
    a, b = several(tmp_path, 2)
    for _ in range(3):
        with pytest.raises(AdapterError):
            await resident.ensure(replace(a, adapter=tmp_path / "absent"))
    assert (await asyncio.wait_for(resident.ensure(b), 60)).where == "disk"


async def test_slots_belong_to_those_in_use_and_then_to_those_used_last(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(), capacity=4, slots=2)
    a, b, c, d = several(tmp_path, 4)
    for one in (a, b, c):
        await resident.ensure(one)
    assert [resident.place(one) for one in (a, b, c, d)] == ["cpu", "slot", "slot", "disk"]
    assert (await resident.ensure(a)).where == "cpu"
    assert (await resident.ensure(a)).where == "hit"
    async with resident.using(b):
        await resident.ensure(c)
        await resident.ensure(a)
        assert [resident.place(one) for one in (a, b, c)] == ["slot", "slot", "cpu"]


@pytest.mark.parametrize("slots", [None, 1, 2, 5])
async def test_the_places_are_those_of_all_that_are_held(tmp_path: Path, slots: int | None) -> None:
    resident = Resident(FakeEngine(), slots=slots)
    assert not any(resident.places().values())
    for one in several(tmp_path, 3):
        await resident.ensure(one)
    assert +Counter(resident.places()) == Counter(map(resident.place, resident.held()))


async def test_what_the_engine_works_on_stays_when_its_request_is_gone(tmp_path: Path) -> None:
    engine = FakeEngine()
    resident = Resident(engine)
    (a,) = several(tmp_path, 1)
    async with resident.using(a):
        (adapter_id,) = engine.adapters
        at_work = resident.keeping(adapter_id)
        at_work.__enter__()
    assert not await resident.release(a)
    assert engine.adapters
    at_work.__exit__(None, None, None)
    await asyncio.sleep(0.001)
    assert engine.adapters == {}


@pytest.mark.parametrize("capacity", [None, 4, 1])
async def test_whoever_uses_an_expert_finds_it_in_the_engine(
    tmp_path: Path, capacity: int | None
) -> None:
    """Many users and releases of ten experts, with every step of the engine taking time."""
    engine = FakeEngine(delay=0.0005)
    resident = Resident(engine, capacity)
    experts = several(tmp_path, 10)
    random = Random(3)

    async def use() -> None:
        one = random.choice(experts)
        await asyncio.sleep(random.random())
        async with resident.using(one):
            for _ in range(random.randrange(4)):
                assert capacity is None or len(engine.adapters) <= capacity
                assert one.engine_name in {name for name, _ in engine.adapters.values()}
                await asyncio.sleep(random.random() / 500)

    async def release() -> None:
        await asyncio.sleep(random.random())
        await resident.release(random.choice(experts))

    await asyncio.gather(*(use() if i % 3 else release() for i in range(600)))
    assert engine.loads > len(experts)
    names = [name for name, _ in engine.adapters.values()]
    assert sorted(names) == sorted(e.engine_name for e in experts if resident.holds(e))
    for one in experts:
        assert await resident.release(one)
    assert engine.adapters == {}
