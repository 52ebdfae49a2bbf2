"""What is known of a file and of a batch, and how clients see them: OpenAI's objects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hive_expert.errors import JobError, Problem
from hive_expert.jobs.limits import (
    LONGEST_WINDOW_S,
    METADATA_KEY_CHARACTERS,
    METADATA_PAIRS,
    METADATA_VALUE_CHARACTERS,
)
from hive_expert.jobs.line import ENDPOINTS

OPEN = ("validating", "in_progress", "finalizing", "cancelling")
"""States of a batch that something will still happen to."""

FINAL = ("failed", "completed", "expired", "cancelled")

NEXT: Mapping[str, frozenset[str]] = {
    "validating": frozenset({"failed", "in_progress", "cancelling"}),
    "in_progress": frozenset({"finalizing", "cancelling"}),
    "finalizing": frozenset({"completed", "expired"}),
    "cancelling": frozenset({"cancelled"}),
    **{state: frozenset() for state in FINAL},
}
"""State → those that may come next."""

UNANSWERED: Mapping[str, str] = {
    "expired": "The batch was not done in its completion window.",
    "cancelled": "The batch was cancelled.",
}
"""States of a request that was never answered, and what its line in the error file says."""

_WINDOW = re.compile(r"([1-9][0-9]{0,3})(m|h|d)")
_SECONDS = {"m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class File:
    """One file of an agent's. Its bytes lie under its id; its name is text for people."""

    id: str
    agent: str
    name: str
    purpose: str
    size: int
    created_at: int
    expires_at: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


@dataclass(frozen=True, slots=True)
class Counts:
    """Of a batch's requests. `done` and `failed` have their result or error."""

    total: int = 0
    done: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of an agent's.

    Law: its state goes from one to another as `NEXT` says, and `times` has when.
    """

    id: str
    agent: str
    endpoint: str
    input_file: str
    window: str
    created_at: int
    expires_at: int
    state: str = "validating"
    runs: int = 0
    """How often its workflow was begun anew; part of the workflow's id."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    output_seconds: int | None = None
    """After which its output and error file expire."""
    output_file: str | None = None
    error_file: str | None = None
    problems: Sequence[Mapping[str, Any]] = ()
    times: Mapping[str, int] = field(default_factory=dict)
    """State → when it was entered."""
    counts: Counts = field(default_factory=Counts)

    @property
    def workflow(self) -> str:
        """The id of its durable workflow."""
        return f"{self.id}.{self.runs}"

    def as_json(self) -> dict[str, Any]:
        errors = {"object": "list", "data": list(self.problems)} if self.problems else None
        counts = self.counts
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": errors,
            "input_file_id": self.input_file,
            "completion_window": self.window,
            "status": self.state,
            "output_file_id": self.output_file,
            "error_file_id": self.error_file,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            **{f"{state}_at": self.times.get(state) for state in NEXT if state != "validating"},
            "request_counts": {
                "total": counts.total,
                "completed": counts.done,
                "failed": counts.failed,
            },
            "usage": {
                "input_tokens": counts.prompt_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": counts.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": counts.prompt_tokens + counts.completion_tokens,
            },
            "metadata": dict(self.metadata) or None,
        }


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asks for when it makes a batch; sound once `read_order` has returned it."""

    input_file: str
    endpoint: str
    window: str
    seconds: int
    metadata: Mapping[str, str]
    output_seconds: int | None


def read_order(body: Any) -> Order:
    """The order in a request's body.

    Raises:
        JobError: every field that is unknown, missing or of no sensible value.
    """
    if not isinstance(body, dict):
        raise JobError(Problem("body", "is no JSON object"))
    problems = [
        Problem(str(key)[:40], "is no field of a batch") for key in body if key not in _FIELDS
    ]
    problems += [
        Problem(key, "must be a text")
        for key in ("input_file_id", "endpoint", "completion_window")
        if not isinstance(body.get(key), str)
    ]
    if problems:
        raise JobError(*problems)
    if body["endpoint"] not in ENDPOINTS:
        problems.append(Problem("endpoint", f"one of {', '.join(ENDPOINTS)}"))
    seconds = window_seconds(body["completion_window"])
    if seconds is None:
        what = "a number with m, h or d, such as 24h, of at most 30 days"
        problems.append(Problem("completion_window", what))
    metadata = body.get("metadata") or {}
    problems += _metadata_problems(metadata)
    output_seconds, wrong = read_expiry(body.get("output_expires_after"), "output_expires_after")
    problems += wrong
    if problems or seconds is None:
        raise JobError(*problems)
    return Order(
        body["input_file_id"],
        body["endpoint"],
        body["completion_window"],
        seconds,
        metadata,
        output_seconds,
    )


_FIELDS = frozenset(
    {"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"}
)


def window_seconds(text: str) -> int | None:
    """How long `24h`, `90m` or `7d` is; None if it is no such text, or longer than 30 days."""
    found = _WINDOW.fullmatch(text)
    if found is None:
        return None
    seconds = int(found[1]) * _SECONDS[found[2]]
    return seconds if seconds <= LONGEST_WINDOW_S else None


def read_expiry(value: Any, where: str) -> tuple[int | None, list[Problem]]:
    """Seconds of `{"anchor": "created_at", "seconds": n}`, and what is wrong."""
    if value is None:
        return None, []
    if not isinstance(value, dict) or set(value) - {"anchor", "seconds"}:
        return None, [Problem(where, "must have anchor and seconds")]
    problems = []
    if value.get("anchor") != "created_at":
        problems.append(Problem(f"{where}.anchor", "must be created_at"))
    seconds: Any = value.get("seconds")
    whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not (whole and 3600 <= seconds <= LONGEST_WINDOW_S):
        problems.append(Problem(f"{where}.seconds", f"3600 to {LONGEST_WINDOW_S}"))
    return (None, problems) if problems else (seconds, [])


def _metadata_problems(metadata: Any) -> list[Problem]:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        return [Problem("metadata", "must be an object of texts")]
    problems = []
    if len(metadata) > METADATA_PAIRS:
        problems.append(Problem("metadata", f"has more than {METADATA_PAIRS} pairs"))
    if any(len(key) > METADATA_KEY_CHARACTERS for key in metadata):
        problems.append(Problem("metadata", f"keys: at most {METADATA_KEY_CHARACTERS} characters"))
    if any(len(value) > METADATA_VALUE_CHARACTERS for value in metadata.values()):
        what = f"values: at most {METADATA_VALUE_CHARACTERS} characters"
        problems.append(Problem("metadata", what))
    return problems
