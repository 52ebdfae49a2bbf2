"""The routes of jobs in vLLM's own server (entry point group `vllm.endpoint_plugins`).

They stand beside those of `serving.endpoints`, under the same guard. `args.hive_jobs` has the
settings; with None, or where another server works on the same jobs, the routes say so.
"""

from __future__ import annotations

import asyncio
import logging
from argparse import Namespace
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from hive_expert.errors import EngineError, NoJobsError, Problem
from hive_expert.jobs import batches_api, files_api
from hive_expert.jobs.answers import STATE
from hive_expert.jobs.pipelines.chain_limit import chain_limit_of
from hive_expert.jobs.service import Jobs, JobSettings
from hive_expert.jobs.upstream import Application
from hive_expert.serving.guard import Door

log = logging.getLogger("hive_expert.jobs")

APPLICATION = "hive_application"
"""Where the application's state holds the application, which answers its own jobs."""


class JobEndpoints:
    """vLLM's `EndpointPlugin` protocol."""

    name = "hive_expert_jobs"
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        attach(app)

    async def init_state(self, _engine_client: Any, state: Any, args: Namespace) -> None:
        """Start the jobs; their routes are of use from the server's first request on.

        Raises:
            EngineError: vLLM initialises its plugins in another order than they are declared in.
        """
        door: Door | None = getattr(state, "hive_door", None)
        if door is None or door.telemetry is None:
            what = "is initialised before the plugin whose guard it stands behind"
            raise EngineError(Problem(self.name, what, "reinstall hive-expert"))
        jobs = await start(state, args.hive_jobs, door, door.telemetry.registry)
        if jobs is not None:
            # Kept on the state: the event loop holds tasks only weakly.
            state.hive_jobs_task = asyncio.create_task(_stop_at_the_end(jobs))


def attach(app: FastAPI) -> None:
    """Give an application the routes of jobs."""
    app.include_router(files_api.router)
    app.include_router(batches_api.router)
    setattr(app.state, APPLICATION, app)


async def start(
    state: Any, settings: JobSettings | None, door: Door, registry: CollectorRegistry
) -> Jobs | None:
    """Start the jobs of an application; None if there are none, and the routes say why."""
    if settings is None:
        none = Problem("jobs", "this server has none", "hive-serve --no-jobs was given")
        setattr(state, STATE, NoJobsError(none))
        return None
    application = Application(getattr(state, APPLICATION))
    jobs = Jobs(settings, door, application, registry, chain_limit_of(state))
    try:
        await jobs.start()
    except NoJobsError as error:
        log.warning("no batches here: %s", error)
        setattr(state, STATE, error)
        return None
    setattr(state, STATE, jobs)
    return jobs


async def _stop_at_the_end(jobs: Jobs) -> None:
    """The server's event loop cancels its tasks when it ends; there is no other sign of it here."""
    try:
        await asyncio.Event().wait()
    finally:
        await jobs.stop()
