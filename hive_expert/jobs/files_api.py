"""`/v1/files`, as OpenAI's clients know it. Each agent sees its own files only."""

from __future__ import annotations

import asyncio
import errno
import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.requests import ClientDisconnect

from hive_expert.errors import JobError, Problem, UnknownJobError
from hive_expert.jobs.answers import Asked, answering, asked, listed
from hive_expert.jobs.batch import File
from hive_expert.jobs.files import new_id
from hive_expert.jobs.upload import TooLargeError, receive_form
from hive_expert.serving.guard import error_answer

router = APIRouter()


@router.post("/v1/files")
@answering
async def upload(request: Request) -> Response:
    """Upload a JSONL file for a batch: a form with `file` and `purpose=batch`."""
    caller = asked(request)
    if not caller.jobs.uploads.free(caller.agent):
        later = {"retry-after": "5"}
        return error_answer(429, "RateLimitError", "Too many uploads at once.", later)
    with caller.jobs.uploads.taking(caller.agent):
        try:
            file = await _receive(request, caller)
        except ClientDisconnect:
            return Response(status_code=499)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return error_answer(507, "InsufficientStorageError", "The server's disk is full.")
        except JobError as error:
            status = 413 if isinstance(error, TooLargeError) else 400
            # The rest of the body is still on the line.
            text = "; ".join(map(str, error.problems))
            return error_answer(status, "BadRequestError", text, {"connection": "close"})
    return JSONResponse(file.as_json())


async def _receive(request: Request, caller: Asked) -> File:
    jobs, limits = caller.jobs, caller.jobs.settings.limits
    left = await jobs.blocking(lambda: jobs.room_for_file(caller.agent))
    file_id = new_id("file-")
    with jobs.files.writing(file_id) as out:
        form = await receive_form(
            request.headers.get("content-type", ""),
            request.stream(),
            out,
            limit=min(limits.file_bytes, left),
            seconds=limits.upload_seconds,
        )
    now = int(time.time())
    expires_at = None if form.expires_seconds is None else now + form.expires_seconds
    file = File(file_id, caller.agent, form.name, form.purpose, form.size, now, expires_at)
    try:
        await caller.of_store(lambda store, _: store.add_file(file))
    except asyncio.CancelledError:
        jobs.files.remove(file_id)
        raise
    return file


@router.get("/v1/files")
@answering
async def list_files(
    request: Request,
    purpose: Annotated[str | None, Query(pattern="^[a-z_-]{1,64}$")] = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    """The caller's files."""
    page = await asked(request).of_store(
        lambda store, agent: store.files(
            agent, purpose=purpose, after=after, limit=limit, newest_first=order == "desc"
        )
    )
    return listed(page)


@router.get("/v1/files/{file_id}")
@answering
async def retrieve_file(file_id: str, request: Request) -> Response:
    """What is known of a file."""
    file = await asked(request).of_store(lambda store, agent: store.file(file_id, agent))
    return JSONResponse(file.as_json())


@router.get("/v1/files/{file_id}/content")
@answering
async def file_content(file_id: str, request: Request) -> Response:
    """A file's bytes."""
    caller = asked(request)
    file = await caller.of_store(lambda store, agent: store.file(file_id, agent))
    path = caller.jobs.files.path(file.id)
    if not path.exists():
        raise UnknownJobError(Problem("", f"The bytes of {file.id} are gone"))
    return FileResponse(
        path,
        media_type="application/jsonl",
        filename=file.name,
        headers={"x-content-type-options": "nosniff"},
    )


@router.delete("/v1/files/{file_id}")
@answering
async def delete_file(file_id: str, request: Request) -> Response:
    """Delete a file that no open batch reads."""
    caller = asked(request)
    await caller.jobs.remove_file(file_id, caller.agent)
    return JSONResponse({"id": file_id, "object": "file", "deleted": True})
