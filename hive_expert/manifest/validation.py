"""From plain values to a record, with problems in the words of the file's author."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hive_expert.errors import HiveError, ManifestError, Problem
from hive_expert.manifest.record import (
    NOT_IN_DOCUMENT,
    NULL,
    PATTERNS_IN_WORDS,
    Record,
    record_in,
)
from hive_expert.manifest.strict_json import first_problems, join, located

R = TypeVar("R", bound=Record)


def build(
    kind: type[R],
    document: Any,
    where: str,
    *,
    error: type[HiveError] = ManifestError,
    place: Callable[[str], str] = str,
) -> R:
    """Validate ``document`` (what a JSON reader returned) as a ``kind``.

    Raises ``error`` with every problem (up to a hundred), each with its JSON path and, for an
    unknown key, the nearest known name. ``place`` gives the path to show for one in ``document``,
    if its author wrote something else.
    """
    if not isinstance(document, dict):
        raise error(Problem(where, "is not a JSON object"))
    try:
        return kind.model_validate(document)
    except ValidationError as exc:
        raise error(*first_problems(_problems(exc, kind, where, place), where)) from exc


def _problems(
    exc: ValidationError, root: type[Record], where: str, place: Callable[[str], str]
) -> Iterator[Problem]:
    for error in exc.errors(include_url=False):
        if error["type"] == "too_short" and error["input"]:
            continue  # its items are what is wrong, and they are reported
        path, record = _place(error["loc"], root)
        what, remedy = _in_words(error, record)
        yield Problem(located(where, place(path)), what, remedy)


def _place(
    loc: tuple[int | str, ...], record: type[Record] | None
) -> tuple[str, type[Record] | None]:
    """The JSON path of an error, and the record that holds the field.

    Pydantic's location also names the branch it took in a union; that is left out.
    """
    path = ""
    for step in loc[:-1]:
        if step in NOT_IN_DOCUMENT:
            continue
        path = join(path, step)
        if isinstance(step, str) and record is not None:
            field = record.model_fields.get(step)
            record = record_in(field.annotation) if field else None
    return (path if loc[-1] in NOT_IN_DOCUMENT else join(path, loc[-1])), record


def _in_words(error: ErrorDetails, record: type[Record] | None) -> tuple[str, str]:
    """What is wrong, and the remedy."""
    context = error.get("ctx", {})
    shown = _shown(error["input"])
    match error["type"]:
        case "extra_forbidden":
            return "unknown key", _nearest(str(error["loc"][-1]), record)
        case "missing":
            return "is missing", ""
        case _ if error["input"] is NULL:
            return "null is not a value", "leave the field out"
        case "literal_error":
            return f"{shown} is not one of {context['expected']}", ""
        case "string_pattern_mismatch":
            pattern = str(context["pattern"])
            return f"{shown} is not {PATTERNS_IN_WORDS.get(pattern, f'of the form {pattern}')}", ""
        case "contradiction" | "unsupported_adapter" | "unstable_target":
            return error["msg"], str(context["remedy"])
        case _:
            return f"{shown} is not valid: {error['msg'][:1].lower()}{error['msg'][1:]}", ""


def _nearest(key: str, record: type[Record] | None) -> str:
    names = list(record.model_fields) if record else []
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."
