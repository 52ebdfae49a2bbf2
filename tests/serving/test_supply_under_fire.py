"""Requests while the directory changes in every way at once, around an engine without a model.

`tests/e2e/test_chaos.py` does the same to the real one, where it takes longer.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from hive_expert.catalog.residency import Resident
from hive_expert.engine.fake import FakeEngine
from hive_expert.errors import CatalogError, ConflictError
from hive_expert.serving.state import Hive, ServeSettings
from hive_expert.serving.supply import Supply
from tests.catalog.site import Site, damage, write_sources

NAMES = ("expert-a", "expert-b", "expert-c", "expert-d")
CAPACITY = 3
STEPS = 150


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: Path) -> Site:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    return Site.at(tmp_path, sources)


async def test_every_request_gets_the_version_it_is_told(site: Site) -> None:
    engine, random = FakeEngine(delay=0.001), Random(5)
    site.look()
    resident = Resident(engine, CAPACITY, slots=2)
    supply = Supply(site.inventory, resident, site.inventory.catalog())
    hive = Hive(ServeSettings(site.inventory, site.inventory.host, ("base",)), supply, None)
    confirmed: dict[str, int] = {}
    seen, stop = Counter[str](), asyncio.Event()

    async def ask() -> None:
        while not stop.is_set():
            name = random.choice(NAMES)
            oldest = confirmed.get(name, 0)
            try:
                async with hive.answering(name) as target:
                    (part,) = target.parts
                    assert int(part.expert.version.split(".")[1]) >= oldest, "stale"
                    for _ in range(random.randrange(3)):
                        (path,) = [p for n, p in engine.adapters.values() if n == target.model]
                        manifest = json.loads((path.parent / "manifest.json").read_text())
                        assert (manifest["name"], manifest["version"]) == (
                            name,
                            part.expert.version,
                        )
                        assert len(engine.adapters) <= CAPACITY
                        await asyncio.sleep(random.random() / 200)
                seen["answered"] += 1
            except CatalogError:
                seen["not served"] += 1
                await asyncio.sleep(0.002)

    async def operate() -> None:
        for serial in range(1, STEPS):
            name, kind = random.choice(NAMES), random.randrange(10)
            place = site.directory / f"{name}.expert"
            seen[f"operation {kind}"] += 1
            try:
                if kind < 4:
                    site.put(name, f"0.{serial}.0", file=place.name)
                    await supply.refresh()
                    confirmed[name] = serial
                elif kind == 4:
                    confirmed.pop(name, None)
                    damage(site.put(name, f"0.{serial}.0", file=place.name), at=random.random())
                    await supply.refresh()
                elif kind == 5:
                    confirmed.pop(name, None)
                    site.put(name, f"0.{serial}.0", file=place.name, signer="Eve")
                    await supply.refresh(again=True)
                elif kind == 6:
                    confirmed.pop(name, None)
                    place.unlink(missing_ok=True)
                    await supply.refresh()
                elif kind == 7:
                    await supply.unload(name)
                elif kind == 8:
                    await supply.pin(name)
                else:
                    await supply.unpin(name)
            except (CatalogError, ConflictError):
                seen["refused"] += 1
            await asyncio.sleep(0.005)
        stop.set()

    await asyncio.wait_for(asyncio.gather(operate(), *(ask() for _ in range(16))), 600)
    assert seen["answered"] > 200
    assert seen["not served"] > 0
    assert all(seen[f"operation {kind}"] for kind in range(10))
    # And then nothing is left of what went away.
    for name in NAMES:
        (site.directory / f"{name}.expert").unlink(missing_ok=True)
    await supply.refresh()
    await asyncio.sleep(0.05)
    assert engine.adapters == {}
    assert all(resident.users(held) == 0 for held in resident.held())
