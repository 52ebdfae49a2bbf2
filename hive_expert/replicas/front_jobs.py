"""Files and batches of a server with replicas: the front keeps them, as it is the only one.

A request of a batch takes the way of every other: through the front's own guard, by its expert to a
replica, and to another one if that falls away. What it has in place of a key is its `Caller`, which
reaches the replica's server beside the request (`serving.front_link`), so that it yields there too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from hive_expert.errors import HiveError, NoJobsError, Problem
from hive_expert.jobs import batches_api, files_api
from hive_expert.jobs.answers import STATE
from hive_expert.jobs.service import Jobs
from hive_expert.jobs.upstream import Application
from hive_expert.replicas.chain_limit import ChainLimits
from hive_expert.replicas.front import Front
from hive_expert.replicas.settings import FrontJobSettings
from hive_expert.serving.guard import Door, error_answer

log = logging.getLogger("hive_expert.replicas")

AGAIN_S = 5.0
"""Before jobs are asked for once more that another server works on: it may be the front before this
one, which has not ended yet."""


class FrontJobs:
    """The jobs of a front. `app` answers their routes, behind the front's guard."""

    def __init__(
        self, settings: FrontJobSettings | None, door: Door, registry: CollectorRegistry
    ) -> None:
        self._settings = settings
        self._door = door
        self._registry = registry
        self._jobs: Jobs | None = None
        self._waiting: asyncio.Task[None] | None = None
        self.app = FastAPI(openapi_url=None)
        self.app.add_exception_handler(RequestValidationError, _invalid)
        self.app.add_exception_handler(HTTPException, _refused)
        self.app.include_router(files_api.router)
        self.app.include_router(batches_api.router)
        self.app.state.hive_door = door
        none = Problem("jobs", "this server has none", "hive-serve --no-jobs was given")
        setattr(self.app.state, STATE, NoJobsError(none))

    @asynccontextmanager
    async def running(self, upstream: ASGIApp, front: Front) -> AsyncIterator[None]:
        """Work on the jobs as long as the block runs; ``upstream`` answers their requests.

        Raises:
            HiveError: their database cannot be used.
        """
        try:
            if self._settings is not None:
                await self._start(self._settings, upstream, front)
            yield
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Let go of the jobs; nothing of them is lost. It can be done again."""
        if self._waiting is not None:
            self._waiting.cancel()
            with suppress(asyncio.CancelledError):
                await self._waiting
        jobs, self._jobs = self._jobs, None
        if jobs is not None:
            ended = Problem("jobs", "this server stops", "ask again when it is back")
            setattr(self.app.state, STATE, NoJobsError(ended))
            await jobs.stop()

    def make_room(self, replicas: int) -> None:
        """Have batches take their share of the places of so many replicas, of one at least."""
        if self._jobs is not None and self._settings is not None:
            self._jobs.room = self._settings.room(replicas)

    async def _start(self, settings: FrontJobSettings, upstream: ASGIApp, front: Front) -> None:
        limit = ChainLimits(front).limit
        own = settings.jobs
        jobs = Jobs(own, self._door, Application(upstream), self._registry, limit)
        jobs.room = settings.room(settings.replicas)
        if not await self._taken(jobs):
            self._waiting = asyncio.create_task(self._wait_for(jobs))

    async def _wait_for(self, jobs: Jobs) -> None:
        while True:
            await asyncio.sleep(AGAIN_S)
            try:
                if await self._taken(jobs):
                    log.info("batches go on here")
                    return
            except HiveError as error:
                setattr(self.app.state, STATE, error)

    async def _taken(self, jobs: Jobs) -> bool:
        """Whether the jobs are ours now."""
        try:
            await jobs.start()
        except NoJobsError as error:
            log.warning("no batches here: %s", error)
            setattr(self.app.state, STATE, error)
            return False
        except HiveError as error:
            log.error("no batches here: %s", error)
            raise
        self._jobs = jobs
        setattr(self.app.state, STATE, jobs)
        return True


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # what it is registered for
    first, *_rest = error.errors()
    where = ".".join(map(str, first["loc"]))
    kind = HTTPStatus.BAD_REQUEST.phrase  # vLLM's own word for it
    return error_answer(400, kind, f"{where}: {first['msg']}")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # what it is registered for
    status = HTTPStatus(error.status_code)
    kind = "BadRequestError" if status is HTTPStatus.BAD_REQUEST else status.phrase
    return error_answer(error.status_code, kind, str(error.detail))
