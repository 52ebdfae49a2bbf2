"""One line of a batch's input file: `{"custom_id": …, "method": "POST", "url": …, "body": {…}}`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hive_expert.errors import PipelineError
from hive_expert.jobs.limits import CUSTOM_ID_CHARACTERS, MOST_PROBLEMS
from hive_expert.jobs.pipelines.request import ENDPOINT as PIPELINES
from hive_expert.jobs.pipelines.request import read_order
from hive_expert.serving.body import MAX_DEPTH, is_unicode, too_deep

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", PIPELINES)
"""What a batch may ask."""

_KEYS = {"custom_id", "method", "url", "body"}


@dataclass(frozen=True, slots=True)
class LineProblem:
    """What is wrong with a line, in the shape of OpenAI's batch errors."""

    code: str
    message: str
    line: int | None = None
    """Counted from 1."""
    param: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": self.message,
            "line": self.line,
            "param": self.param,
        }


@dataclass(frozen=True, slots=True)
class Line:
    """A request as it stands in the file."""

    custom_id: str
    body: dict[str, Any]


def read_line(raw: bytes, number: int, endpoint: str) -> Line | list[LineProblem]:
    """A line's request, or all that is wrong with it, as far as it is reported.

    Args:
        number: of the line, counted from 1.
        endpoint: what the batch asks; each line must ask the same.
    """

    def wrong(code: str, message: str, param: str | None = None) -> LineProblem:
        return LineProblem(code, message, number, param)

    value = read_object(raw)
    if isinstance(value, str):
        return [wrong("invalid_json_line", value)]
    problems = list(islice(_problems(value, endpoint, wrong), MOST_PROBLEMS))
    return problems or Line(value["custom_id"], value["body"])


def read_object(raw: bytes) -> dict[str, Any] | str:
    """The JSON object of a line, or why it has none."""
    if too_deep(raw):
        return f"nested deeper than {MAX_DEPTH} levels"
    if not is_unicode(raw):
        return "is no UTF-8, or names half of a surrogate pair"
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"is no JSON: {error}"[:200]
    return value if isinstance(value, dict) else "is no JSON object"


def _problems(
    value: dict[str, Any], endpoint: str, wrong: Callable[..., LineProblem]
) -> Iterator[LineProblem]:
    for key in sorted(set(value) - _KEYS):
        yield wrong("unknown_parameter", f"{key[:40]!r} is no field of a request", key[:40])
    for key in sorted(_KEYS - set(value)):
        yield wrong("missing_required_parameter", f"{key!r} is missing", key)
    custom_id = value.get("custom_id", "x")
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= CUSTOM_ID_CHARACTERS:
        what = f"custom_id must be a text of 1 to {CUSTOM_ID_CHARACTERS} characters"
        yield wrong("invalid_custom_id", what, "custom_id")
    elif "\0" in custom_id:
        yield wrong("invalid_custom_id", "custom_id has a NUL character", "custom_id")
    if value.get("method", "POST") != "POST":
        yield wrong("invalid_method", "method must be POST", "method")
    if value.get("url", endpoint) != endpoint:
        yield wrong("mismatched_endpoint", f"url must be the batch's endpoint, {endpoint}", "url")
    body = value.get("body", {})
    if not isinstance(body, dict):
        yield wrong("invalid_body", "body must be a JSON object", "body")
    elif body.get("stream"):
        yield wrong("invalid_body", "stream: a batch's answers are not streamed", "body.stream")
    elif endpoint == PIPELINES:
        try:
            read_order(body)
        except PipelineError as error:
            for problem in error.problems:
                yield wrong("invalid_pipeline", str(problem), f"body.{problem.where}"[:200])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:40]!r} stands there twice")
        found[name] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
