"""What a server answers with follows its experts directory; requests never notice."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hive_expert.catalog.catalog import Expert
from hive_expert.catalog.residency import Resident
from hive_expert.engine.fake import FakeEngine
from hive_expert.errors import (
    CatalogError,
    ConflictError,
    EngineError,
    Problem,
    UnknownExpertError,
)
from hive_expert.serving import supply as supply_module
from hive_expert.serving.state import Hive, ServeSettings
from hive_expert.serving.supply import Supply
from tests.catalog.site import Site, damage, write_sources
from tests.package.samples import NOW, key


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: Path) -> Site:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    return Site.at(tmp_path, sources)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(delay=0.001)


def hive_of(site: Site, engine: FakeEngine, capacity: int = 4, **options: Any) -> Hive:
    site.look()
    resident = Resident(engine, capacity, slots=2)
    supply = Supply(site.inventory, resident, site.inventory.catalog(), **options)
    settings = ServeSettings(site.inventory, site.inventory.host, ("base",))
    return Hive(settings, supply, engine_client=None)


def in_engine(engine: FakeEngine) -> set[str]:
    return {name.partition("@")[0] for name, _ in engine.adapters.values()}


async def version_of(hive: Hive, model: str) -> str:
    async with hive.answering(model) as target:
        return target.parts[0].expert.version


async def test_an_announced_expert_is_verified_once_however_many_ask(
    site: Site, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put()
    hive = hive_of(site, engine)
    verified = 0
    real = site.inventory.verify

    def counting(entry: Any) -> None:
        nonlocal verified
        verified += 1
        real(entry)

    monkeypatch.setattr(site.inventory, "verify", counting)
    found = await asyncio.gather(*(version_of(hive, "expert-lora") for _ in range(10)))
    assert (set(found), verified, engine.loads) == ({"0.1.0"}, 1, 1)


async def test_a_new_version_takes_over_while_requests_end_on_the_old_one(
    site: Site, engine: FakeEngine
) -> None:
    site.put(file="a.expert")
    hive = hive_of(site, engine)
    async with hive.answering("expert-lora") as old:
        site.put(version="0.2.0", file="a.expert")
        await hive.supply.refresh()
        async with hive.answering("expert-lora") as new:
            assert new.parts[0].expert.version == "0.2.0"
            # It was loaded before it took the name.
            assert new.residency.where == "hit"
            assert {name for name, _ in engine.adapters.values()} == {old.model, new.model}
        assert old.model in {name for name, _ in engine.adapters.values()}
    assert {name for name, _ in engine.adapters.values()} == {new.model}


async def test_a_replacement_of_one_that_is_not_in_memory_is_not_loaded(
    site: Site, engine: FakeEngine
) -> None:
    site.put(file="a.expert")
    hive = hive_of(site, engine)
    site.put(version="0.2.0", file="a.expert")
    await hive.supply.refresh()
    assert engine.adapters == {}


async def test_a_new_version_is_served_although_the_old_one_is_always_in_use(
    site: Site, engine: FakeEngine
) -> None:
    site.put(file="a.expert")
    site.put("expert-b")
    hive = hive_of(site, engine, capacity=1)
    answered: list[str] = []

    async def ask_again_and_again() -> None:
        while True:
            async with hive.answering("expert-lora") as target:
                await asyncio.sleep(0.02)
                assert target.model in {name for name, _ in engine.adapters.values()}
                answered.append(target.parts[0].expert.version)

    users = []
    for _ in range(3):  # overlapping, so that somebody always uses it
        users.append(asyncio.create_task(ask_again_and_again()))
        await asyncio.sleep(0.007)
    async with asyncio.timeout(60):
        site.put(version="0.2.0", file="a.expert")
        await hive.supply.refresh()
        while "0.2.0" not in answered:
            await asyncio.sleep(0.01)
        assert await version_of(hive, "expert-b") == "0.1.0"
    for user in users:
        user.cancel()
    await asyncio.gather(*users, return_exceptions=True)
    assert sorted(answered) == answered, "once the new version has the name, it keeps it"


async def test_slots_in_use_are_not_waited_for_ahead_of_need(
    site: Site, engine: FakeEngine
) -> None:
    for name in ("expert-a", "expert-b"):
        site.put(name)
    hive = hive_of(site, engine, capacity=1)
    await hive.supply.start()
    async with hive.answering("expert-b"), asyncio.timeout(60):
        await hive.supply.fill_slots()
    assert in_engine(engine) == {"expert-b"}


async def test_what_needs_no_preparation_counts_at_once(site: Site, engine: FakeEngine) -> None:
    """While a new version is tried, which may take its time."""
    site.put(file="a.expert")
    gone = site.put("expert-gone")
    hive = hive_of(site, engine)
    for name in ("expert-lora", "expert-gone"):
        await version_of(hive, name)
    tried, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(expert: Expert) -> None:
        if expert.version == "0.2.0":
            tried.set()
            await go_on.wait()

    hive.supply.attempt = slowly
    site.put(version="0.2.0", file="a.expert")
    site.put("expert-other")
    gone.unlink()
    refreshing = asyncio.create_task(hive.supply.refresh())
    async with asyncio.timeout(60):
        await tried.wait()
        assert await version_of(hive, "expert-lora") == "0.1.0"
        assert await version_of(hive, "expert-other") == "0.1.0"
        with pytest.raises(UnknownExpertError):
            await version_of(hive, "expert-gone")
        go_on.set()
        await refreshing
        assert await version_of(hive, "expert-lora") == "0.2.0"


async def test_a_revoked_version_is_not_served_while_the_next_is_tried(
    site: Site, engine: FakeEngine
) -> None:
    site.put(file="a.expert", signer="Bob")
    trust = site.inventory.trust
    trust.edited(lambda known: known.with_key(key("Bob").public, ("*",), NOW))
    hive = hive_of(site, engine)
    assert await version_of(hive, "expert-lora") == "0.1.0"
    served: list[str] = []

    async def look(_: Expert) -> None:
        served.extend(hive.catalog.names())

    hive.supply.attempt = look
    trust.edited(lambda known: known.revoking(key("Bob").key_id, NOW))
    site.put(version="0.2.0", file="a.expert")
    await hive.supply.refresh()
    assert served == []
    assert await version_of(hive, "expert-lora") == "0.2.0"


async def test_a_removed_expert_leaves_the_engine(site: Site, engine: FakeEngine) -> None:
    path = site.put()
    hive = hive_of(site, engine)
    await version_of(hive, "expert-lora")
    path.unlink()
    await hive.supply.refresh()
    assert engine.adapters == {}
    with pytest.raises(UnknownExpertError):
        await version_of(hive, "expert-lora")


async def test_a_replacement_that_the_engine_refuses_leaves_the_old_version(
    site: Site, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put(file="a.expert")
    hive = hive_of(site, engine)
    await version_of(hive, "expert-lora")
    site.put(version="0.2.0", file="a.expert")

    async def refuse(expert: Expert) -> None:
        if expert.version == "0.2.0":
            raise CatalogError(Problem("model", "its grammar does not compile"))

    hive.supply.attempt = refuse
    await hive.supply.refresh()
    assert await version_of(hive, "expert-lora") == "0.1.0"
    (entry,) = hive.catalog.unavailable
    assert "grammar" in str(entry.problems)


async def unfit(expert: Expert) -> None:
    raise CatalogError(Problem("model", f"{expert.name}: its grammar does not compile"))


@pytest.mark.parametrize("way", ["ask", "load", "pin", "compose"])
async def test_one_that_is_verified_when_it_is_asked_for_is_tried_as_well(
    site: Site, engine: FakeEngine, way: str
) -> None:
    site.put()
    hive = hive_of(site, engine)
    assert [entry.name for entry in hive.catalog.announced] == ["expert-lora"]
    hive.supply.attempt = unfit
    with pytest.raises(CatalogError, match="its grammar"):
        if way == "load":
            await hive.supply.load("expert-lora")
        elif way == "pin":
            await hive.supply.pin("expert-lora")
        else:
            await version_of(hive, "expert-lora" if way == "ask" else "expert-lora:0.5")
    assert engine.adapters == {}
    (entry,) = hive.catalog.unavailable
    assert "grammar" in str(entry.problems)
    assert hive.supply.pins == set()


async def test_one_is_tried_once_and_again_when_nobody_had_time(
    site: Site, engine: FakeEngine
) -> None:
    site.put()
    hive = hive_of(site, engine)
    tried: list[str] = []

    async def busy_at_first(expert: Expert) -> None:
        tried.append(expert.name)
        if len(tried) == 1:
            raise EngineError(Problem("grammar", "later"))

    hive.supply.attempt = busy_at_first
    with pytest.raises(EngineError):
        await version_of(hive, "expert-lora")
    for _ in range(3):
        assert await version_of(hive, "expert-lora") == "0.1.0"
    assert len(tried) == 2


async def test_a_file_on_its_way_is_looked_at_again(
    site: Site, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hive = hive_of(site, engine)
    damage(site.put(), at=0.99)
    assert await hive.supply.refresh()
    assert hive.catalog.unavailable == ()
    site.now = 60
    assert not await hive.supply.refresh()
    assert len(hive.catalog.unavailable) == 1


async def test_a_directory_that_goes_away_changes_nothing(
    site: Site, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    site.put()
    hive = hive_of(site, engine)
    site.directory.rename(site.directory.with_name("elsewhere"))
    await hive.supply.refresh_and_log()
    assert hive.catalog.names() == ("expert-lora",)
    assert "stays as it was" in caplog.text


async def test_an_unexpected_error_does_not_end_the_watching(
    site: Site,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hive = hive_of(site, engine)

    def broken(**_: Any) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(site.inventory, "refresh", broken)
    await hive.supply.refresh_and_log()
    assert "ZeroDivisionError" in caplog.text


async def test_pins_are_loaded_kept_and_follow_the_version(site: Site, engine: FakeEngine) -> None:
    for name in ("expert-lora", "expert-b", "expert-c"):
        site.put(name, file=f"{name}.expert")
    hive = hive_of(site, engine, capacity=2, pins={"expert-lora"})
    await hive.supply.start()
    assert in_engine(engine) == {"expert-lora"}
    for name in ("expert-b", "expert-c", "expert-b"):
        await version_of(hive, name)
    assert in_engine(engine) == {"expert-lora", "expert-b"}
    site.put(version="0.2.0", file="expert-lora.expert")
    await hive.supply.refresh()
    current = hive.catalog.find("expert-lora")
    assert hive.resident.pinned == {current.digest}
    assert hive.resident.holds(current)
    assert len(engine.adapters) <= 2


async def test_a_pinned_expert_that_is_missing_is_told_and_picked_up_later(
    site: Site, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    hive = hive_of(site, engine, pins={"expert-lora"})
    await hive.supply.start()
    assert "expert-lora is pinned and not in memory" in caplog.text
    site.put()
    await hive.supply.refresh()
    assert in_engine(engine) == {"expert-lora"}


async def test_pinning_by_hand_and_back(site: Site, engine: FakeEngine) -> None:
    for name in ("expert-a", "expert-b"):
        site.put(name)
    hive = hive_of(site, engine, capacity=2)
    supply = hive.supply
    expert = await supply.pin("expert-a")
    assert hive.resident.pinned == {expert.digest}
    with pytest.raises(ConflictError, match="unpin it first"):
        await supply.unload("expert-a")
    with pytest.raises(ConflictError, match="1 of 2 places"):
        await supply.pin("expert-b")
    await supply.unpin("expert-a@0.1.0")
    assert hive.resident.pinned == frozenset()
    assert await supply.unload("expert-a") == (expert, True)
    assert engine.adapters == {}


async def test_a_pinned_expert_that_is_away_keeps_its_claim_to_a_place(
    site: Site, engine: FakeEngine
) -> None:
    for name in ("expert-a", "expert-b", "expert-c"):
        site.put(name, file=f"{name}.expert")
    hive = hive_of(site, engine, capacity=2)
    supply = hive.supply
    await supply.pin("expert-a")
    (site.directory / "expert-a.expert").unlink()
    await supply.refresh()
    # Were this allowed, both places would be pinned once it is back, and expert-c wait for ever.
    with pytest.raises(ConflictError, match="1 of 2 places"):
        await supply.pin("expert-b")
    with pytest.raises(CatalogError):
        await supply.unpin("expert-a")
    await supply.pin("expert-b")
    assert await version_of(hive, "expert-c")


async def test_unloading_waits_for_requests_and_takes_compositions_along(
    site: Site, engine: FakeEngine
) -> None:
    for name in ("expert-a", "expert-b"):
        site.put(name)
    hive = hive_of(site, engine)
    async with hive.answering("expert-a:0.5+expert-b"):
        await hive.supply.load("expert-a")
        assert len(engine.adapters) == 2
        _, gone = await hive.supply.unload("expert-a")
        assert not gone
        assert len(engine.adapters) == 1
    assert engine.adapters == {}


async def test_requests_are_counted_for_each_expert_that_answers(
    site: Site, engine: FakeEngine
) -> None:
    for name in ("expert-a", "expert-b"):
        site.put(name)
    hive = hive_of(site, engine)
    for model in ("expert-a", "expert-a+expert-b"):
        await version_of(hive, model)
    await hive.supply.load("expert-b")
    a, b = (hive.catalog.find(name).digest for name in ("expert-a", "expert-b"))
    assert (hive.resident.requests[a], hive.resident.requests[b]) == (2, 1)
    assert set(hive.resident.last_request) == {a, b}


async def test_compositions_of_a_replaced_version_leave_with_it(
    site: Site, engine: FakeEngine
) -> None:
    site.put("expert-a", file="a.expert")
    site.put("expert-b")
    hive = hive_of(site, engine)
    await version_of(hive, "expert-a+expert-b")
    (before,) = [name for name, _ in engine.adapters.values()]
    site.put("expert-a", "0.2.0", file="a.expert", description="Another.")
    await hive.supply.refresh()
    assert engine.adapters == {}
    async with hive.answering("expert-a+expert-b") as target:
        assert target.model != before


async def test_free_slots_are_filled_by_load_order(site: Site, engine: FakeEngine) -> None:
    for name, order in {"expert-a": 8, "expert-b": 2, "expert-c": 5}.items():
        site.put(name, constraints={"load_order": order})
    hive = hive_of(site, engine)
    await hive.supply.start()
    await hive.supply.fill_slots()
    assert in_engine(engine) == {"expert-b", "expert-c"}


async def test_following_goes_on_whatever_fails_beside_it(
    site: Site,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hive = hive_of(site, engine)
    looked = 0

    async def three_changes(_: Path) -> AsyncIterator[None]:
        for _ in range(3):
            yield

    async def refresh(*, again: bool = False) -> bool:
        nonlocal looked
        looked += 1
        return False

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def fail() -> None:
        full()

    monkeypatch.setattr(hive.supply, "fill_slots", fail)
    monkeypatch.setattr(hive.supply, "refresh", refresh)
    monkeypatch.setattr(supply_module, "changes", three_changes)
    monkeypatch.setattr(supply_module, "collect_garbage", full)
    monkeypatch.setattr(supply_module, "TIDY_EVERY_S", -1)
    await hive.supply.follow()
    assert looked == 3
    assert "free slots are not filled" in caplog.text
    assert caplog.text.count("the stores are not tidied") == 3


async def test_following_sees_what_is_put_there(site: Site, engine: FakeEngine) -> None:
    hive = hive_of(site, engine)
    following = asyncio.create_task(hive.supply.follow())
    for number in range(60):
        site.put(version=f"0.{number}.0", file="a.expert")
        await asyncio.sleep(0.5)
        if hive.catalog.names():
            break
    following.cancel()
    assert hive.catalog.names() == ("expert-lora",)
