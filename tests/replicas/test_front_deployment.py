"""What the front does when it is told to stop; tests/e2e/test_replicas.py has Ray Serve tell it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uvicorn
from uvicorn.lifespan.on import LifespanOn

from hive_expert.errors import NoJobsError
from hive_expert.jobs.answers import STATE
from hive_expert.jobs.service import Jobs, JobSettings
from hive_expert.replicas.front_deployment import FrontDeployment
from hive_expert.replicas.relay import Head, Relayed, Spent
from hive_expert.replicas.settings import FrontJobSettings
from tests.replicas.test_deploy import SETTINGS


class Engines:
    """They are asked, and never answer."""

    lost = ()

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.left = False

    async def ask(self, _: Relayed) -> AsyncGenerator[Head, None]:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left = True
        yield Head(200)

    async def accounts(self, _: str) -> list[list[Spent]]:
        return []

    async def alive(self) -> bool:
        return True


def life_of(fronting: FrontDeployment) -> LifespanOn:
    """As Ray Serve begins and ends it."""
    fronting.__dict__["_engines"] = Engines()
    app = fronting.__serve_build_asgi_app__()
    return LifespanOn(uvicorn.Config(app, lifespan="on", log_config=None))


async def test_jobs_begin_and_end_with_the_front(tmp_path: Path) -> None:
    jobs = FrontJobSettings(JobSettings(tmp_path / "jobs", poll_s=0.05))
    fronting = FrontDeployment(replace(SETTINGS, jobs=jobs))
    life = life_of(fronting)
    await life.startup()
    assert not life.should_exit
    state = fronting._jobs.app.state
    assert isinstance(getattr(state, STATE), Jobs)
    # Its own life is no request that could be cut off; its jobs end there.
    assert await fronting.cut_off() == 0
    assert isinstance(getattr(state, STATE), NoJobsError)
    await life.shutdown()
    assert not life.shutdown_failed


async def test_a_database_that_cannot_be_used_is_no_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = FrontJobSettings(JobSettings(tmp_path, database="nonsense://x"))
    life = life_of(FrontDeployment(replace(SETTINGS, jobs=jobs)))
    await life.startup()
    assert life.should_exit
    assert "no batches here: " in caplog.text


async def test_nobody_waits_for_batches() -> None:
    fronting = FrontDeployment(replace(SETTINGS, drain_s=60))
    assert fronting._door.traffic.enter("alice", job=True) is None
    await asyncio.wait_for(fronting.drain(), 5)


async def test_draining_lets_nobody_in_and_waits_for_those_who_are_there() -> None:
    fronting = FrontDeployment(replace(SETTINGS, drain_s=5))
    traffic = fronting._door.traffic
    assert traffic.enter("alice") is None
    draining = asyncio.create_task(fronting.drain())
    await asyncio.sleep(0.2)
    turned_away = traffic.enter("bob")
    assert turned_away is not None and turned_away.status == 503
    assert not draining.done()
    traffic.leave("alice")
    await asyncio.wait_for(draining, 5)


async def test_draining_has_an_end_and_cuts_off_who_is_still_there() -> None:
    """As it does when it is told to stop once more."""
    fronting = FrontDeployment(replace(SETTINGS, drain_s=0.1))
    fronting.__dict__["_engines"] = engines = Engines()
    app = fronting.__serve_build_asgi_app__()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        asking = asyncio.create_task(client.post("/v1/completions", json={}))
        await asyncio.wait_for(engines.asked.wait(), 5)
        assert fronting._door.traffic.present == 1
        await asyncio.wait_for(fronting.drain(), 5)
        assert not asking.done()
        assert await fronting.cut_off() == 1
        await asyncio.wait({asking}, timeout=5)
        assert asking.done()
    assert engines.left
    assert fronting._door.traffic.present == 0
    assert await fronting.cut_off() == 0
