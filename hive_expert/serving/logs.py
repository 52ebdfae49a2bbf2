"""Logs: lines for people, or one JSON object a line for machines. Never a key, prompt or answer."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import IO, Any, Literal

from hive_expert.serving.observation import CURRENT, Observation

LogFormat = Literal["text", "json"]


class JsonLines(logging.Formatter):
    """A record as one line of JSON; of a request's end with what is known of it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request = getattr(record, "request", None)
        current = CURRENT.get()
        if isinstance(request, Observation):
            line |= _fields(request)
        elif current is not None:
            line["request_id"] = current.request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _fields(seen: Observation) -> dict[str, Any]:
    fields = {
        "request_id": seen.request_id,
        "method": seen.method,
        "path": seen.path,
        "status": seen.status,
        "seconds": round(seen.seconds, 4),
        "tenant": seen.tenant,
        "refused": seen.refused,
    }
    if seen.asks_model and seen.refused is None:
        fields |= {
            "expert": seen.expert,
            "residency": seen.where,
            "load_seconds": round(seen.load_s, 4),
            "first_token_seconds": None
            if seen.first_token_s is None
            else round(seen.first_token_s, 4),
            "prompt_tokens": seen.prompt_tokens,
            "cached_tokens": seen.cached_tokens,
            "completion_tokens": seen.completion_tokens,
            "validation": seen.validation,
            "overflowed": seen.overflowed or None,
        }
    return {name: value for name, value in fields.items() if value is not None}


def log_to(stream: IO[str], *, format_: LogFormat, verbose: bool) -> None:
    """Send our log lines to a stream; each request has one in JSON, or where all is told."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        JsonLines()
        if format_ == "json"
        else logging.Formatter("%(asctime)s %(name)s %(message)s", "%H:%M:%S")
    )
    logger = logging.getLogger("hive_expert")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
    quiet = format_ == "text" and not verbose
    logging.getLogger("hive_expert.access").setLevel(logging.WARNING if quiet else logging.INFO)
