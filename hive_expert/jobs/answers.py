"""Answers of the routes of jobs: OpenAI's objects and lists, and our errors in OpenAI's shape."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from hive_expert.errors import BudgetError, HiveError, JobError, NoJobsError, UnknownJobError
from hive_expert.jobs.rows import Page
from hive_expert.jobs.service import Jobs
from hive_expert.jobs.store import Store
from hive_expert.jobs.upload import TooLargeError
from hive_expert.serving.agents import NOBODY
from hive_expert.serving.guard import caller_of, error_answer

log = logging.getLogger("hive_expert.jobs")

STATE = "hive_jobs"
"""Where the application's state holds `Jobs`, or the error for which there are none."""

_STATUS: tuple[tuple[type[HiveError], int, str], ...] = (
    (UnknownJobError, 404, "NotFoundError"),
    (NoJobsError, 503, "ServiceUnavailableError"),
    (TooLargeError, 413, "BadRequestError"),
    (JobError, 400, "BadRequestError"),
    (BudgetError, 429, "insufficient_quota"),
    (HiveError, 500, "InternalServerError"),
)

T = TypeVar("T")
Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Response]])


def answering(handler: Handler) -> Handler:
    """Answer with an error for a `HiveError` of the handler, or a database that is away."""

    @wraps(handler)
    async def answered(*arguments: Any, **named: Any) -> Response:
        try:
            return await handler(*arguments, **named)
        except HiveError as error:
            return error_of(error)
        except SQLAlchemyError as error:
            # Its text has the query, and perhaps the database's address.
            log.error("jobs: %s", type(error).__name__)
            later = {"retry-after": "5"}
            what = "The database of jobs cannot be asked just now."
            return error_answer(503, "ServiceUnavailableError", what, later)

    return answered  # type: ignore[return-value]  # the same signature, for FastAPI to read


def error_of(error: HiveError) -> JSONResponse:
    """The HTTP answer for an error; the first matching type decides."""
    status, kind = next((s, k) for cls, s, k in _STATUS if isinstance(error, cls))
    headers = {"retry-after": "5"} if status == 503 else {}
    if isinstance(error, BudgetError):  # OpenAI's clients would ask again at once
        headers = {"retry-after": str(error.again_s), "x-should-retry": "false"}
    return error_answer(status, kind, "; ".join(map(str, error.problems)), headers)


@dataclass(frozen=True, slots=True)
class Asked:
    """The jobs of this server, and whose files and batches a request is about."""

    jobs: Jobs
    agent: str

    async def of_store(self, query: Callable[[Store, str], T]) -> T:
        """What the store knows for this agent; it is asked in a thread, as it blocks."""
        return await self.jobs.blocking(lambda: query(self.jobs.store, self.agent))


def asked(request: Request) -> Asked:
    """Raises HiveError: this server has no jobs, and why."""
    jobs = getattr(request.app.state, STATE)
    if isinstance(jobs, HiveError):
        raise jobs
    assert isinstance(jobs, Jobs)
    if jobs.lost is not None:
        raise jobs.lost
    return Asked(jobs, caller_of(request.scope).tenant or NOBODY)


def listed(page: Page) -> JSONResponse:
    """A page as OpenAI's clients turn it."""
    ids = [item.id for item in page.items]
    return JSONResponse(
        {
            "object": "list",
            "data": [item.as_json() for item in page.items],
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": page.has_more,
        }
    )
