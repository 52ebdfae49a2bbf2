"""The JSON Schema that a request's messages carry, as its answer's. SPEC section 7."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from hive_expert.decoding.bounds import bounds_of
from hive_expert.decoding.enforceable import enforceable
from hive_expert.decoding.json_schema import MAX_BYTES, compact_json_schema
from hive_expert.decoding.prompt import Message, said_beside, schema_texts
from hive_expert.decoding.schema_limits import MAX_NODES, limit_problems
from hive_expert.errors import DecodingError

MAX_NESTING = 64
"""Brackets in brackets, before any parser recurses into them."""


@dataclass(frozen=True, slots=True)
class Found:
    """A schema fit to constrain the answer (compact JSON), or the reason why there is none."""

    schema: str | None
    reason: str = ""


def prompt_schema(messages: Sequence[Message]) -> Found:
    """The first schema that follows the word `Schema:`, checked.

    A schema that is there but not fit is not looked past: nobody would know which one holds.
    """
    try:
        stated = _stated(messages)
    except DecodingError as error:
        return Found(None, f"the prompt's schema: {error.problems[0].what}")
    if stated is None:
        return Found(None, "no schema found")
    parsed = json.loads(stated.compact)
    problems = limit_problems(parsed)
    if problems:
        where = f" at {problems[0].where}" if problems[0].where else ""
        return Found(None, f"the prompt's schema{where}: {problems[0].what}")
    bounds = bounds_of(said_beside(messages, stated.text))
    return Found(json.dumps(enforceable(parsed, bounds), separators=(",", ":")))


def stated_schema(messages: Sequence[Message]) -> str | None:
    """The first schema that follows the word `Schema:`, as compact JSON; None without one.

    Raises:
        DecodingError: what stands there begins like a JSON object but is no JSON Schema.
    """
    stated = _stated(messages)
    return None if stated is None else stated.compact


@dataclass(frozen=True, slots=True)
class _Stated:
    """A schema as it stands in a message, and checked."""

    text: str
    compact: str


def _stated(messages: Sequence[Message]) -> _Stated | None:
    for text in schema_texts(messages):
        start = len(text) - len(text.lstrip())
        if text[start : start + 1] == "{":
            found = _object_at(text, start)
            compact = compact_json_schema(found.encode(), "schema", max_parts=MAX_NODES)
            return _Stated(found, compact)
    return None


def _object_at(text: str, start: int) -> str:
    """The JSON object that begins at ``start``; found by its brackets, parsed by others.

    Raises:
        DecodingError: it does not end, or nests too deep, or is too large.
    """
    depth, in_string, at = 0, False, start
    end = min(len(text), start + MAX_BYTES)
    while at < end:
        character = text[at]
        if in_string:
            if character == "\\":
                at += 1
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "{[":
            depth += 1
            if depth > MAX_NESTING:
                raise DecodingError(f"nested more than {MAX_NESTING} deep")
        elif character in "}]":
            depth -= 1
            if depth == 0:
                return text[start : at + 1]
        at += 1
    raise DecodingError("it does not end" if end == len(text) else f"longer than {MAX_BYTES}")
