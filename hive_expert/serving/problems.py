"""Errors in OpenAI's error shape, made by vLLM's own types."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from vllm.entrypoints.serve.engine.protocol import ErrorInfo, ErrorResponse

from hive_expert.errors import (
    AdapterError,
    AgentError,
    BudgetError,
    CatalogError,
    CompositionError,
    ConflictError,
    EngineError,
    HiveError,
    InvalidAnswerError,
    NotYetError,
    OverflowedError,
    RequestError,
    RoutingError,
)

RETRY_AFTER_S = 5
"""Where the server has too much to do just now."""

_STATUS: tuple[tuple[type[HiveError], HTTPStatus, str], ...] = (
    (CompositionError, HTTPStatus.BAD_REQUEST, "BadRequestError"),
    (BudgetError, HTTPStatus.TOO_MANY_REQUESTS, "insufficient_quota"),
    (AgentError, HTTPStatus.FORBIDDEN, "PermissionDeniedError"),
    (RequestError, HTTPStatus.BAD_REQUEST, "BadRequestError"),
    (NotYetError, HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailableError"),
    # An unavailable expert is not found rather than "try again": retrying cannot mend it.
    (CatalogError, HTTPStatus.NOT_FOUND, "NotFoundError"),
    (ConflictError, HTTPStatus.CONFLICT, "ConflictError"),
    (InvalidAnswerError, HTTPStatus.UNPROCESSABLE_ENTITY, "InvalidAnswerError"),
    (OverflowedError, HTTPStatus.INTERNAL_SERVER_ERROR, "OverflowedError"),
    (AdapterError, HTTPStatus.NOT_FOUND, "NotFoundError"),
    (RoutingError, HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailableError"),
    (EngineError, HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailableError"),
    (HiveError, HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerError"),
)


def error_response(error: HiveError) -> JSONResponse:
    """The HTTP answer for an error of ours; the first matching type decides."""
    status, kind = next((s, k) for cls, s, k in _STATUS if isinstance(error, cls))
    param = "model" if isinstance(error, CatalogError) else None
    message = "; ".join(f"{p.what} ({p.remedy})" if p.remedy else p.what for p in error.problems)
    body = ErrorResponse(
        error=ErrorInfo(message=message, type=kind, param=param, code=status.value)
    )
    return JSONResponse(body.model_dump(), status_code=status.value, headers=_when(error))


def _when(error: HiveError) -> dict[str, str] | None:
    """When it is worth asking again, where that can be said."""
    if isinstance(error, NotYetError | EngineError):
        return {"retry-after": str(RETRY_AFTER_S)}
    if isinstance(error, BudgetError):
        return {"retry-after": str(error.again_s), "x-should-retry": "false"}
    # OpenAI's clients ask again after errors of the server, unless it says that this is in vain.
    return {"x-should-retry": "false"} if isinstance(error, OverflowedError) else None


def shape_framework_errors(app: FastAPI) -> None:
    """Answer in this shape, too, what the web framework refuses by itself.

    vLLM does so for FastAPI's own exception, which is a part of Starlette's: a body that no parser
    takes (a number of 100,000 digits) raises the whole one, and would come back as `{"detail": …}`.
    """
    app.add_exception_handler(HTTPException, _refused_by_framework)


async def _refused_by_framework(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # what it is registered for
    status = HTTPStatus(error.status_code)
    kind = "BadRequestError" if status is HTTPStatus.BAD_REQUEST else status.phrase
    body = ErrorResponse(error=ErrorInfo(message=str(error.detail), type=kind, code=status.value))
    return JSONResponse(body.model_dump(), status_code=status.value, headers=error.headers)
