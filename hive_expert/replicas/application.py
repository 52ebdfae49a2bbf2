"""The front put together: its guard, the replicas behind it, and its jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from hive_expert.replicas.front import Engines, Front
from hive_expert.replicas.front_jobs import FrontJobs
from hive_expert.replicas.settings import FrontJobSettings
from hive_expert.serving.guard import Door, Guard
from hive_expert.serving.telemetry import Telemetry

JOBS = "hive_front_jobs"
"""Where the application's state holds its `FrontJobs`."""


def build_app(door: Door, engines: Engines, settings: FrontJobSettings | None = None) -> Starlette:
    """The whole application; the guard is the first to see a request. Its jobs run from its
    lifespan's start to its end."""
    registry = CollectorRegistry()
    door.telemetry = Refusals(registry)
    jobs = FrontJobs(settings, door, registry)
    front = Front(engines, registry, door.ledger, jobs.app)

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        counting = asyncio.create_task(front.keep_account(jobs.make_room))
        try:
            async with jobs.running(app, front):
                yield
        finally:
            counting.cancel()

    middleware = [Middleware(Guard)]
    if door.origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=sorted(door.origins),
            allow_methods=["*"],
            allow_headers=["*"],
        )
        middleware.insert(0, cors)
    app = Starlette(routes=[Mount("/", app=front)], middleware=middleware, lifespan=life)
    app.state.hive_door = door
    setattr(app.state, JOBS, jobs)
    return app


class Refusals(Telemetry):
    """Counts what the front refuses; everything else its replicas count."""

    def record(self, seen: object) -> None:
        if getattr(seen, "refused", None) is not None:
            super().record(seen)  # type: ignore[arg-type]  # an Observation, as the guard's is
