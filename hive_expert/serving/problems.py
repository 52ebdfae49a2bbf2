"""Our errors in OpenAI's error shape, made by vLLM's own types."""

from __future__ import annotations

from http import HTTPStatus

from fastapi.responses import JSONResponse
from vllm.entrypoints.serve.engine.protocol import ErrorInfo, ErrorResponse

from hive_expert.errors import (
    AdapterError,
    CatalogError,
    CompositionError,
    ConflictError,
    EngineError,
    HiveError,
    InvalidAnswerError,
    RequestError,
    RoutingError,
)

_STATUS: tuple[tuple[type[HiveError], HTTPStatus, str], ...] = (
    (CompositionError, HTTPStatus.BAD_REQUEST, "BadRequestError"),
    (RequestError, HTTPStatus.BAD_REQUEST, "BadRequestError"),
    # An unavailable expert is not found rather than "try again": retrying cannot mend it.
    (CatalogError, HTTPStatus.NOT_FOUND, "NotFoundError"),
    (ConflictError, HTTPStatus.CONFLICT, "ConflictError"),
    (InvalidAnswerError, HTTPStatus.UNPROCESSABLE_ENTITY, "InvalidAnswerError"),
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
    return JSONResponse(body.model_dump(), status_code=status.value)
