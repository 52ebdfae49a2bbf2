"""Schemas in a prompt that are made to hang, blow up or crash whoever compiles them."""

from __future__ import annotations

import json
from typing import Any

S: dict[str, Any] = {"type": "string"}


def _nested(depth: int, keyword: str = "properties") -> dict[str, Any]:
    schema: dict[str, Any] = S
    for _ in range(depth):
        schema = (
            {"type": "object", "properties": {"a": schema}}
            if keyword == "properties"
            else {"type": "array", "items": schema}
        )
    return schema


def _doubling(depth: int) -> dict[str, Any]:
    """Definitions that each use the next one twice: small text, huge grammar."""
    definitions: dict[str, Any] = {
        f"d{i}": {
            "type": "object",
            "properties": {"a": {"$ref": f"#/$defs/d{i + 1}"}, "b": {"$ref": f"#/$defs/d{i + 1}"}},
        }
        for i in range(depth)
    }
    definitions[f"d{depth}"] = S
    return {"$defs": definitions, "$ref": "#/$defs/d0"}


def _wide(count: int, **more: Any) -> dict[str, Any]:
    properties = {f"column_{i}": S for i in range(count)}
    return {"type": "object", "properties": properties, **more}


def _one(**keywords: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": keywords}, "required": ["a"]}


TREE = {
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
        }
    },
    "$ref": "#/$defs/tree",
}

JSON_SCHEMAS: dict[str, Any] = {
    "an enum of 513 values": _one(enum=[f"v{i}" for i in range(513)]),
    "an enum of 5,000 values": _one(enum=[f"v{i}" for i in range(5_000)]),
    "an enum of one long value": _one(enum=["x" * 50_000]),
    "enums in many places": {
        "type": "object",
        "properties": {f"p{i}": {"enum": list(range(i * 20, i * 20 + 20))} for i in range(60)},
    },
    "nested 13 deep": _nested(13),
    "nested 60 deep": _nested(60),
    "nested 5,000 deep": "PRE" + '{"type":"array","items":' * 5_000 + "{}" + "}" * 5_000,
    "arrays nested 40 deep": _nested(40, "items"),
    "a tree": TREE,
    "itself": {"$ref": "#"},
    "a circle": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "$ref": "#/$defs/a",
    },
    "a reference to elsewhere": {"$ref": "http://127.0.0.1:9/schema.json"},
    "a reference to a file": {"$ref": "file:///etc/passwd"},
    "a reference to nothing": {"$ref": "#/$defs/none"},
    "doubling 12 times": _doubling(12),
    "doubling 40 times": _doubling(40),
    "10,000 properties": _wide(10_000),
    "900 properties, all optional": _wide(900),
    "900 properties, all required": _wide(900, required=[f"column_{i}" for i in range(900)]),
    "300 optional properties and others": _wide(300, additionalProperties=True),
    "a length of a milliard": _one(type="string", minLength=10**9, maxLength=10**9),
    "a length of 1,024": _one(type="string", minLength=1024, maxLength=1024),
    "a length of a negative number": _one(type="string", maxLength=-1),
    "a million items": _one(type="array", items=S, minItems=10**6),
    "1,024 items of 1,024": _one(
        type="array", maxItems=1024, items={"type": "array", "items": S, "maxItems": 1024}
    ),
    "1,024 items, three times": _one(
        type="array",
        minItems=1024,
        items={
            "type": "array",
            "minItems": 1024,
            "items": {"type": "array", "minItems": 1024, "items": S},
        },
    ),
    "a pattern that backtracks": _one(type="string", pattern="^(a+)+$"),
    "a pattern of repetitions": _one(type="string", pattern="^((a{1,99}){1,99}){1,99}$"),
    "a pattern of 10,000 characters": _one(type="string", pattern="(a|b)" * 2_000),
    "a pattern that is none": _one(type="string", pattern="("),
    "a pattern that looks back": _one(type="string", pattern="(?<=a)b\\1"),
    "an enormous number": _one(type="integer", minimum=-(10**300), maximum=10**300),
    "an empty range": _one(type="integer", minimum=5, maximum=1),
    "a range of numbers with many digits": _one(type="number", minimum=0.123456789012345678),
    "nothing is allowed": False,
    "an empty enum": _one(enum=[]),
    "anyOf of 500": _one(anyOf=[{"const": i} for i in range(500)]),
    "anyOf in anyOf": {"anyOf": [{"anyOf": [{"anyOf": [S] * 8}] * 8}] * 8},
    "allOf": {"allOf": [_one(type="integer"), _one(type="string")]},
    "not": _one(**{"not": {}}),
    "patternProperties": {"type": "object", "patternProperties": {"^(a+)+$": S}},
    "a type that is none": {"type": "thing"},
    "properties that are none": {"type": "object", "properties": 3},
    "keys of every kind": _wide(0, required=["", '"', "\\", "\0"]),
    "emoji and such": _one(enum=["\U0001f600", "\u202e", "\ud83d", "é"]),
    "not finished": "PRE" + '{"type":"object","properties":{"a":{"type":"str',
    "not JSON": "PRE{type: object}",
    "not a number": 'PRE{"type":"integer","minimum":NaN}',
    "a key twice": 'PRE{"type":"object","type":"array"}',
    "200 KB of it": _wide(5_000),
    "many schemas": "PRE" + "\nSchema:\n{}" * 2_000,
}
"""What stands after `Schema:`; texts that begin with PRE are no JSON and stand as they are."""


def _columns(count: int) -> str:
    return f"wide({', '.join(f'column_{i}' for i in range(count))})"


SQL_SCHEMAS: dict[str, str] = {
    "10,000 columns": _columns(10_000),
    "500 columns": _columns(500),
    "513 columns": _columns(513),
    "5,000 tables": "\n".join(f"t{i}(id)" for i in range(5_000)),
    "64 tables of 8": "\n".join(f"t{i}({', '.join(f'c{j}' for j in range(8))})" for i in range(64)),
    "65 tables": "\n".join(f"t{i}(id)" for i in range(65)),
    "an endless parenthesis": "t(" + "(" * 50_000,
    "parentheses": "(" * 20_000 + ")" * 20_000,
    "a name of 50,000 letters": f"{'a' * 50_000}(id)",
    "names of 128 letters": "\n".join(f"{'a' * 120}{i}({'b' * 120}{i})" for i in range(60)),
    "commas": "t(" + "," * 50_000 + ")",
    "quotes": 't("' + '""' * 20_000 + '")',
    "an open quote": 't("a, b, c)',
    "names that are grammar": 't("a\\" | root", "[^a]*", "x ::= y")',
    "names that are SQL": 't("a; DROP TABLE t; --")',
    "control characters": "t(a\0b, c\x07)",
    "right to left": "t(\u202eab, \u200bcd)",
    "letters of every kind": "täble(naïve, 日本, имя, \U0001f600)",
    "columns alike": "t(" + ", ".join(["a"] * 5_000) + ")",
    "CREATE without end": "CREATE TABLE " * 5_000,
    "spaces": "t" + " " * 100_000 + "(id)",
    "lines": "\n" * 100_000 + "t(id)",
    "200 KB": _columns(20_000),
}


def messages(kind: str, text: Any) -> list[dict[str, str]]:
    """A request's messages with this schema; kind is `json` or `sql`."""
    if not isinstance(text, str):
        written = json.dumps(text, separators=(",", ":"))
    else:
        written = text.removeprefix("PRE")
    return [
        {"role": "system", "content": f"Dialect: {kind}\nSchema:\n{written}"},
        {"role": "user", "content": "Anna Berg is 34 years old."},
    ]
