"""Any number of different JSON Schemas with a text for each, the same ones for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

_NAMES = (
    "name title city country street owner author colour size model brand status priority category "
    "age year count quantity price weight height distance rating score total open active paid "
    "urgent tags items parts colours address contact sender receiver product room event ticket"
)
NAMES = _NAMES.split()
_WORDS = (
    "red blue green small large north south open closed pending done paper steel oak cotton high "
    "low medium Oslo Lima Porto Kyoto Anna Boris Chen Dalia monday friday spring winter"
)
WORDS = _WORDS.split()
TEXTS = (
    "{0} lives in {1} and is {a} years old; the order of {b} {2} chairs is {3}.",
    "Ticket from {0}: the {2} door in {1} has been {3} since {a} May, {b} people asked about it.",
    "Sold {a} {2} lamps to {0} in {1} for {b} euros, status {3}.",
    "{0}, {1}. Room {a}, {2}, {3}. Rated {b} out of 100.",
)


def cases(count: int, seed: int = 0) -> Iterator[tuple[dict[str, Any], str]]:
    """(schema, text); no two schemas are alike."""
    draw, seen = random.Random(seed), set[str]()
    while len(seen) < count:
        schema = _object(draw, depth=0)
        if draw.random() < 0.15:
            schema = _with_definition(draw, schema)
        written = json.dumps(schema)
        if written not in seen:
            seen.add(written)
            words = draw.sample(WORDS, 4)
            numbers = {"a": draw.randrange(1, 90), "b": draw.randrange(1, 100)}
            yield schema, draw.choice(TEXTS).format(*words, **numbers)


def _object(draw: random.Random, depth: int) -> dict[str, Any]:
    names = draw.sample(NAMES, draw.randrange(1, 7 - 2 * depth))
    properties = {name: _value(draw, depth) for name in names}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if draw.random() < 0.8:
        schema["required"] = [name for name in names if draw.random() < 0.7]
    if draw.random() < 0.7:
        schema["additionalProperties"] = False
    return schema


def _value(draw: random.Random, depth: int) -> dict[str, Any]:
    kinds = [_string, _string, _integer, _number, _boolean, _enum, _optional, _list]
    if depth < 2:
        kinds += [_object_inside, _list_of_objects]
    kind = draw.choice(kinds)
    return kind(draw, depth)


def _string(draw: random.Random, depth: int) -> dict[str, Any]:
    return draw.choice(
        [
            {"type": "string"},
            {"type": "string"},
            {"type": "string", "description": "as the text has it"},
            {"type": "string", "maxLength": draw.randrange(8, 40)},
            {"type": "string", "minLength": 1, "maxLength": draw.randrange(8, 40)},
            {"type": "string", "format": draw.choice(["date", "email", "time", "ipv4"])},
            {"type": "string", "pattern": draw.choice(["^[A-Z]{2}$", "^[a-z]{1,12}$", "^\\d{4}$"])},
        ]
    )


def _integer(draw: random.Random, depth: int) -> dict[str, Any]:
    low = draw.randrange(-5, 20)
    return draw.choice(
        [
            {"type": "integer"},
            {"type": "integer", "minimum": low},
            {"type": "integer", "minimum": low, "maximum": low + draw.randrange(1, 500)},
            {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1000},
        ]
    )


def _number(draw: random.Random, depth: int) -> dict[str, Any]:
    return draw.choice([{"type": "number"}, {"type": "number", "minimum": 0, "maximum": 100}])


def _boolean(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"type": "boolean"}


def _enum(draw: random.Random, depth: int) -> dict[str, Any]:
    if draw.random() < 0.2:
        return {"const": draw.choice(WORDS)}
    return {"enum": draw.sample([*WORDS, 7, True, None], draw.randrange(2, 7))}


def _optional(draw: random.Random, depth: int) -> dict[str, Any]:
    kind = draw.choice(["string", "integer", "boolean"])
    return draw.choice(
        [{"type": [kind, "null"]}, {"anyOf": [{"type": kind}, {"type": "null"}]}],
    )


def _list(draw: random.Random, depth: int) -> dict[str, Any]:
    items = draw.choice([_string, _integer, _enum])(draw, depth)
    return {"type": "array", "items": items, "minItems": draw.randrange(2), "maxItems": 4}


def _object_inside(draw: random.Random, depth: int) -> dict[str, Any]:
    return _object(draw, depth + 1)


def _list_of_objects(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"type": "array", "items": _object(draw, depth + 1), "maxItems": 2}


def _with_definition(draw: random.Random, schema: dict[str, Any]) -> dict[str, Any]:
    shared = _object(draw, depth=2)
    properties = {**schema["properties"], "shared": {"$ref": "#/$defs/shared"}}
    return {**schema, "properties": properties, "$defs": {"shared": shared}}
