"""An expert is loaded once, however many ask for it together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

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
