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
from hive_expert.jobs.answers import Asked, answering, asked, listed
from hive_expert.jobs.batch import FINAL, Batch, read_order
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
    caller = asked(request)
    batch = await caller.jobs.make(read_order(await _json(request)), caller.agent)
    return JSONResponse(batch.as_json())


@router.get("/v1/batches")
@answering
async def list_batches(
    request: Request,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """The caller's batches, the newest first."""
    found = await asked(request).of_store(
        lambda store, agent: store.batches(agent, after=after, limit=limit)
    )
    return listed(found)


@router.get("/v1/batches/{batch_id}")
@answering
async def retrieve_batch(batch_id: str, request: Request) -> Response:
    """How far a batch is."""
    batch = await asked(request).of_store(lambda store, agent: store.batch(batch_id, agent))
    return JSONResponse(batch.as_json())


@router.post("/v1/batches/{batch_id}/cancel")
@answering
async def cancel_batch(batch_id: str, request: Request) -> Response:
    """Break a batch off; what is answered already stays."""
    caller = asked(request)
    return JSONResponse((await caller.jobs.cancel(batch_id, caller.agent)).as_json())


@router.post("/v1/batches/{batch_id}/retry")
@answering
async def retry_batch(batch_id: str, request: Request) -> Response:
    """A new batch of those requests of a finished one that have no result."""
    caller = asked(request)
    return JSONResponse((await caller.jobs.retry(batch_id, caller.agent)).as_json())


@router.delete("/v1/batches/{batch_id}")
@answering
async def delete_batch(batch_id: str, request: Request) -> Response:
    """Forget a finished batch, with its output and error file."""
    caller = asked(request)
    await caller.jobs.remove(batch_id, caller.agent)
    return JSONResponse({"id": batch_id, "object": "batch", "deleted": True})


@router.get("/v1/batches/{batch_id}/events")
@answering
async def batch_events(batch_id: str, request: Request) -> Response:
    """A batch each time it has changed, until it is done (server-sent events)."""
    caller = asked(request)
    await caller.of_store(lambda store, agent: store.batch(batch_id, agent))
    return _stream(request, caller, batch_id)


# Not in the document: whoever tries out what stands there would wait for ever.
@router.get("/v1/jobs/events", include_in_schema=False)
@answering
async def all_events(request: Request) -> Response:
    """Each of the caller's batches when it has changed (server-sent events)."""
    return _stream(request, asked(request), None)


def _stream(request: Request, caller: Asked, only: str | None) -> Response:
    jobs = caller.jobs
    if not jobs.streams.free(caller.agent):
        later = {"retry-after": "5"}
        return error_answer(429, "RateLimitError", "Too many event streams at once.", later)
    door: Door = request.app.state.hive_door
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    events = _events(caller, door, only)
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _events(caller: Asked, door: Door, only: str | None) -> AsyncIterator[str]:
    jobs = caller.jobs
    with jobs.streams.taking(caller.agent), jobs.changes.listening() as listener:
        if only is not None:
            listener.changed.add(only)
            listener.some.set()
        while not door.traffic.draining and jobs.lost is None:
            changed = await listener.next(PULSE_S)
            if not changed:
                yield ": still here\n\n"
            for batch_id in sorted(changed if only is None else changed & {only}):
                batch = await _own(caller, batch_id)
                if batch is None:
                    continue
                yield f"event: batch\ndata: {json.dumps(batch.as_json())}\n\n"
                if only is not None and batch.state in FINAL:
                    return
            await asyncio.sleep(PAUSE_S if changed else 0)


async def _own(caller: Asked, batch_id: str) -> Batch | None:
    try:
        return await caller.of_store(lambda store, agent: store.batch(batch_id, agent))
    except UnknownJobError:
        return None


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except ValueError as error:
        raise JobError(Problem("body", "is no JSON")) from error
