"""`POST /v1/route`: who would answer a request for `auto`, and why. Nothing is generated."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from vllm.entrypoints.serve.utils.api_utils import validate_json_request

from hive_expert.errors import HiveError, Problem, RequestError
from hive_expert.serving.automatic import Router, explain, max_experts_of, turns_of_request
from hive_expert.serving.problems import error_response
from hive_expert.serving.state import Hive

router = APIRouter()


_BODY = {
    "type": "object",
    "properties": {
        "messages": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"role": {"type": "string"}, "content": {"type": "string"}},
            },
        },
        "prompt": {"type": "string"},
        "max_experts": {"type": "integer"},
    },
}
"""For the OpenAPI document: the body is read as it is, since fields beyond these are ignored."""


@router.post(
    "/v1/route",
    dependencies=[Depends(validate_json_request)],
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": _BODY}}}},
)
async def explain_route(raw_request: Request) -> Response:
    """Explain the decision about `messages` or a `prompt`, given as in a request to a model.

    `max_experts` asks how it would be with so many allowed. Other fields are ignored, so that the
    body of a chat request can be sent as it is.
    """
    hive: Hive = raw_request.app.state.hive
    routing: Router = raw_request.app.state.hive_router
    try:
        body = _parse(await raw_request.body())
        turns = turns_of_request(body)
        decision = await routing.decide(hive, turns, max_experts=max_experts_of(body))
    except HiveError as error:
        return error_response(error)
    return JSONResponse(explain(decision, hive.catalog))


def _parse(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestError(Problem("body", f"the body is no JSON: {error}")) from error
    if not isinstance(body, dict):
        raise RequestError(Problem("body", "the body must be a JSON object"))
    return body
