"""Counts of loads and evictions only grow, whatever becomes of the experts."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hive_expert.catalog.catalog import Expert, assemble
from hive_expert.catalog.composition import Composition, Part
from hive_expert.catalog.residency import COMPOSED, Resident
from hive_expert.engine.fake import FakeEngine
from hive_expert.serving.compositions import Composed
from hive_expert.serving.snapshot import snapshot
from hive_expert.serving.telemetry import Snapshot
from tests.catalog.test_catalog import expert

DOOR: Any = SimpleNamespace(traffic=SimpleNamespace(present=0, waiting=0))


def of(resident: Resident, *experts: Expert) -> Snapshot:
    hive: Any = SimpleNamespace(catalog=assemble(experts), resident=resident)
    return snapshot(hive, DOOR)


async def test_an_expert_that_leaves_takes_no_counts_along(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(), capacity=1)
    old = replace(expert(), adapter=tmp_path)
    new = replace(expert(digest="ee" * 32), adapter=tmp_path)
    await resident.ensure(old)
    await resident.ensure(new)
    before = of(resident, old, new)
    assert (before.loads, before.evictions) == ({old.name: 2}, {old.name: 1})
    for experts in ((new,), ()):
        after = of(resident, *experts)
        assert (after.loads, after.evictions) == (before.loads, before.evictions)


async def test_a_thread_may_ask_while_experts_come_and_go(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(), slots=8)
    experts = [replace(expert(digest=f"{n:064x}"), adapter=tmp_path) for n in range(1000)]
    for one in experts[:100]:
        await resident.ensure(one)
    asking = asyncio.create_task(asyncio.to_thread(ask_often, resident))
    for one in experts[100:]:
        if asking.done():
            break
        await resident.ensure(one)
        await resident.release(one)
    assert await asking


def ask_often(resident: Resident) -> bool:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        return all(of(resident).resident["slot"] for _ in range(1000))
    finally:
        sys.setswitchinterval(usual)


async def test_compositions_count_together(tmp_path: Path) -> None:
    resident = Resident(FakeEngine(), capacity=1)
    sql = replace(expert(), adapter=tmp_path)
    for weight in (0.5, 0.6, 0.7):
        made = Composition((Part(sql, weight),))
        await resident.ensure(
            Composed(made.digest, made.engine_name, tmp_path, made.load_order, made.members)
        )
    now = of(resident, sql)
    assert (now.loads, now.evictions) == ({COMPOSED: 3}, {COMPOSED: 2})
    # Clients can name any number of them.
    assert {*resident.loads, *resident.evictions, *resident.labels} == {COMPOSED}
