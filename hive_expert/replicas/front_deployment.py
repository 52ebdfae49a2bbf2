"""The front, as Ray Serve runs it: an ASGI application, and what can be told to it."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import cached_property
from typing import Any

from ray import serve
from starlette.types import Message, Receive, Scope, Send

from hive_expert.errors import HiveError
from hive_expert.replicas.application import JOBS, build_app
from hive_expert.replicas.front_jobs import FrontJobs
from hive_expert.replicas.handle import RayEngines
from hive_expert.replicas.loopback import keep_inside
from hive_expert.replicas.settings import ReplicaSettings
from hive_expert.serving.guard import Door
from hive_expert.serving.logs import log_to
from hive_expert.serving.observation import REQUEST_ID

ENGINES = "hive-engines"
"""The engines' application. It has no route: only the front speaks to them."""
LOOK_EVERY_S = 0.1


class FrontDeployment:
    """Ray Serve makes one of it."""

    def __init__(self, settings: ReplicaSettings) -> None:
        keep_inside()
        log_to(sys.stderr, format_=settings.log_format, verbose=settings.verbose)  # type: ignore[arg-type]  # a click.Choice
        self._settings = settings
        self._door: Door = settings.door.open()
        self._asked: set[asyncio.Future[None]] = set()

    def __serve_build_asgi_app__(self) -> Any:
        app = build_app(self._door, self._engines, self._settings.jobs)
        self._jobs: FrontJobs = getattr(app.state, JOBS)

        async def without_its_id(scope: Scope, receive: Receive, send: Send) -> None:
            """Ray Serve's proxy adds the request's id itself."""
            if scope["type"] == "lifespan":
                await app(scope, receive, send)
                return

            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start":
                    kept = [h for h in message["headers"] if h[0].lower() != REQUEST_ID]
                    message["headers"] = kept
                await send(message)

            asked = asyncio.ensure_future(app(scope, receive, sent))
            self._asked.add(asked)
            try:
                await asked
            finally:
                self._asked.discard(asked)

        return without_its_id

    @cached_property
    def _engines(self) -> RayEngines:
        return RayEngines(serve.get_deployment_handle("engine", ENGINES))

    async def reload(self) -> str:
        """Have everything read anew; what is wrong with it, if something is."""
        try:
            door = self._settings.door
            keys, agents = door.keys.load(local=door.local), door.agents.load()
        except HiveError as error:
            return str(error)
        self._door.keys, self._door.ledger.agents = keys, agents
        await self._engines.reload()
        return ""

    async def drain(self) -> None:
        """Let nobody in any more, and wait until those who are there have their answers, or the
        time for it is over. Nobody waits for batches: they go on at the next start."""
        traffic, until = self._door.traffic, time.monotonic() + self._settings.drain_s
        traffic.draining = True
        while traffic.direct and time.monotonic() < until:
            await asyncio.sleep(LOOK_EVERY_S)

    async def cut_off(self) -> int:
        """End the requests that are still there, and the jobs; how many requests it were. Ray Serve
        would wait for them."""
        self._door.traffic.draining = True
        asked = list(self._asked)
        for each in asked:
            each.cancel()
        await self._jobs.stop()
        return len(asked)
