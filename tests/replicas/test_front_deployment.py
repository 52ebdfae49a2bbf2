"""What the front does when it is told to stop; tests/e2e/test_replicas.py has Ray Serve tell it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import httpx

from hive_expert.replicas.front_deployment import FrontDeployment
from hive_expert.replicas.relay import Head, Relayed
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

    async def alive(self) -> bool:
        return True


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
