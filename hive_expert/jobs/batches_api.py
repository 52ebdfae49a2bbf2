"""`/v1/batches`, as OpenAI's clients know it, and beside it: delete, retry, events.

Each agent sees its own batches only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from hive_expert.errors import JobError, Problem, UnknownJobError
from hive_expert.jobs.answers import agent_of, answering, jobs_of, listed
from hive_expert.jobs.batch import FINAL, Batch, read_order
from hive_expert.jobs.service import Jobs
from hive_expert.serving.guard import Door, error_answer

router = APIRouter()

PULSE_S = 5.0
"""A stream says something at least this often, and looks whether the server stops."""

PAUSE_S = 0.5
"""Between two looks at what has changed: counting a batch's requests takes a while."""


@router.post("/v1/batches")
@answering
async def create_batch(request: Request) -> Response:
    """Have all requests of an uploaded file answered."""
    jobs = jobs_of(request)
    batch = await jobs.make(read_order(await _json(request)), agent_of(request))
    return JSONResponse(batch.as_json())


@router.get("/v1/batches")
@answering
async def list_batches(
    request: Request,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """The caller's batches, the newest first."""
    jobs, agent = jobs_of(request), agent_of(request)
    return listed(await jobs.blocking(lambda: jobs.store.batches(agent, after=after, limit=limit)))


@router.get("/v1/batches/{batch_id}")
@answering
async def retrieve_batch(batch_id: str, request: Request) -> Response:
    """How far a batch is."""
    jobs, agent = jobs_of(request), agent_of(request)
    batch = await jobs.blocking(lambda: jobs.store.batch(batch_id, agent))
    return JSONResponse(batch.as_json())


@router.post("/v1/batches/{batch_id}/cancel")
@answering
async def cancel_batch(batch_id: str, request: Request) -> Response:
    """Break a batch off; what is answered already stays."""
    jobs = jobs_of(request)
    return JSONResponse((await jobs.cancel(batch_id, agent_of(request))).as_json())


@router.post("/v1/batches/{batch_id}/retry")
@answering
async def retry_batch(batch_id: str, request: Request) -> Response:
    """A new batch of those requests of a finished one that have no result."""
    jobs = jobs_of(request)
    return JSONResponse((await jobs.retry(batch_id, agent_of(request))).as_json())


@router.delete("/v1/batches/{batch_id}")
@answering
async def delete_batch(batch_id: str, request: Request) -> Response:
    """Forget a finished batch, with its output and error file."""
    await jobs_of(request).remove(batch_id, agent_of(request))
    return JSONResponse({"id": batch_id, "object": "batch", "deleted": True})


@router.get("/v1/batches/{batch_id}/events")
@answering
async def batch_events(batch_id: str, request: Request) -> Response:
    """A batch each time it has changed, until it is done (server-sent events)."""
    jobs, agent = jobs_of(request), agent_of(request)
    await jobs.blocking(lambda: jobs.store.batch(batch_id, agent))
    return _stream(request, jobs, agent, batch_id)


# Not in the document: whoever tries out what stands there would wait for ever.
@router.get("/v1/jobs/events", include_in_schema=False)
@answering
async def all_events(request: Request) -> Response:
    """Each of the caller's batches when it has changed (server-sent events)."""
    jobs = jobs_of(request)
    return _stream(request, jobs, agent_of(request), None)


def _stream(request: Request, jobs: Jobs, agent: str, only: str | None) -> Response:
    if jobs.changes.listeners >= jobs.settings.limits.streams:
        later = {"retry-after": "5"}
        return error_answer(429, "RateLimitError", "Too many event streams at once.", later)
    door: Door = request.app.state.hive_door
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    events = _events(jobs, door, agent, only)
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _events(jobs: Jobs, door: Door, agent: str, only: str | None) -> AsyncIterator[str]:
    with jobs.changes.listening() as listener:
        if only is not None:
            listener.changed.add(only)
            listener.some.set()
        while not door.traffic.draining:
            changed = await listener.next(PULSE_S)
            if not changed:
                yield ": still here\n\n"
            for batch_id in sorted(changed if only is None else changed & {only}):
                batch = await _own(jobs, batch_id, agent)
                if batch is None:
                    continue
                yield f"event: batch\ndata: {json.dumps(batch.as_json())}\n\n"
                if only is not None and batch.state in FINAL:
                    return
            await asyncio.sleep(PAUSE_S if changed else 0)


async def _own(jobs: Jobs, batch_id: str, agent: str) -> Batch | None:
    try:
        return await jobs.blocking(lambda: jobs.store.batch(batch_id, agent))
    except UnknownJobError:
        return None


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except ValueError as error:
        raise JobError(Problem("body", "is no JSON")) from error
