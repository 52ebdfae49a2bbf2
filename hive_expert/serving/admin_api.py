"""What changes the state of a server: loading, unloading, pinning, looking at the directory anew.

`{name}` is that of an expert as in requests; in a URL `#` is written `%23`. SPEC section 10.
"""

from __future__ import annotations

from collections.abc import Awaitable

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from hive_expert.catalog.catalog import Expert
from hive_expert.errors import HiveError
from hive_expert.serving.experts_api import describe, listing
from hive_expert.serving.problems import error_response
from hive_expert.serving.state import Hive

router = APIRouter()


@router.post("/v1/experts/rescan")
async def rescan(raw_request: Request) -> Response:
    """Look at the experts directory now, also at what failed before; lists all experts."""
    hive = _hive(raw_request)
    try:
        await hive.supply.refresh(again=True)
    except HiveError as error:
        return error_response(error)
    return JSONResponse(listing(hive))


@router.post("/v1/experts/{name}/load")
async def load(name: str, raw_request: Request) -> Response:
    """Have an expert in memory."""
    return await _described(raw_request, _hive(raw_request).supply.load(name))


@router.post("/v1/experts/{name}/unload")
async def unload(name: str, raw_request: Request) -> Response:
    """Free an expert's memory and slot: now, or when the requests that use it have ended."""
    hive = _hive(raw_request)
    try:
        expert, gone = await hive.supply.unload(name)
    except HiveError as error:
        return error_response(error)
    return JSONResponse(describe(hive, expert) | {"unloaded": gone})


@router.post("/v1/experts/{name}/pin")
async def pin(name: str, raw_request: Request) -> Response:
    """Load an expert and keep it in memory. A name alone stays with whichever version has it."""
    return await _described(raw_request, _hive(raw_request).supply.pin(name))


@router.post("/v1/experts/{name}/unpin")
async def unpin(name: str, raw_request: Request) -> Response:
    """Let an expert leave memory again when its place is needed."""
    return await _described(raw_request, _hive(raw_request).supply.unpin(name))


def _hive(raw_request: Request) -> Hive:
    hive: Hive = raw_request.app.state.hive
    return hive


async def _described(raw_request: Request, operation: Awaitable[Expert]) -> Response:
    try:
        return JSONResponse(describe(_hive(raw_request), await operation))
    except HiveError as error:
        return error_response(error)
