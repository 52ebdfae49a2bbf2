"""Bounds follow from what the messages say, and leave room for all of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_expert.decoding.bounds import TEXT_LENGTHS, UNBOUNDED, Bounds, bounds_of
from hive_expert.decoding.enforceable import enforceable
from hive_expert.decoding.text_patterns import NAMES, text_of


def test_a_short_line_bounds_everything() -> None:
    assert bounds_of(["Anna, 34, lives in Oslo."]) == Bounds(64, 16, True, True, 256, True)
    assert bounds_of([]) == bounds_of([""])


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ('She said "no".', "characters"),
        ("C:\\temp", "characters"),
        ("two\nlines", "characters"),
        ("x" * (TEXT_LENGTHS[-1] + 1), "characters"),
        ("tracked as 1234567890123456789", "integers"),
        ("tracked as 1234567890123456789", "numbers"),
        ("at 59.9138695 degrees", "numbers"),
        ("6.02e23 of them", "numbers"),
        (f"{'a' * 33}@example.com", "names"),
    ],
)
def test_what_a_bounded_value_could_not_repeat_bounds_nothing(said: str, field: str) -> None:
    assert not getattr(bounds_of([said]), field)
    # Whoever of them says it.
    assert not getattr(bounds_of(["Anna", said]), field)


def test_a_quotation_as_a_whole_is_none_of_its_quotes() -> None:
    assert bounds_of(['Extract JSON from: "Anna Berg, 34, lives in Oslo."']).characters == 64
    for said in ('Anna "Annie" Berg', 'from: "a" and "b"', 'She said "no"'):
        assert bounds_of([said]).characters is None


def test_bounds_are_few() -> None:
    found = {bounds_of(["x" * n]).characters for n in range(300)}
    assert found == {*TEXT_LENGTHS, None}


@given(st.lists(st.text(max_size=300), max_size=3))
def test_what_is_said_can_be_repeated(said: list[str]) -> None:
    bounds = bounds_of(said)
    for text in said:
        if bounds.characters is not None:
            kept = text.strip().replace('"', "")
            assert re.fullmatch(text_of(0, bounds.characters).strip("^$"), kept)
        if bounds.items is not None:
            assert len(re.findall(r"[^\W_]+", text)) <= bounds.items


def rewritten(schema: dict[str, Any], bounds: Bounds) -> dict[str, Any]:
    """What the schema of one property became, references resolved."""
    found = enforceable({"type": "object", "properties": {"v": schema}}, bounds)
    value: dict[str, Any] = found["properties"]["v"]
    while "$ref" in value:
        value = found["$defs"][value["$ref"].removeprefix("#/$defs/")]
    return value


BOUNDED = bounds_of(["a few words"])


@pytest.mark.parametrize(
    ("schema", "becomes"),
    [
        ({"type": "string"}, {"type": "string", "pattern": text_of(0, 64)}),
        ({"type": "string", "minLength": 70}, {"type": "string", "pattern": text_of(70, 70)}),
        ({"type": "string", "maxLength": 200}, {"type": "string", "pattern": text_of(0, 200)}),
        ({"type": "string", "maxLength": 900}, {"type": "string", "pattern": text_of(0, 256)}),
        ({"type": "string", "format": "email"}, {"type": "string", "pattern": NAMES["email"]}),
        ({"type": "string", "format": "uri"}, {"type": "string", "format": "uri"}),
        ({"type": "string", "pattern": "^a+$"}, {"type": "string", "pattern": "^a+$"}),
        ({"type": "integer"}, {"type": "integer", "minimum": 1 - 10**18, "maximum": 10**18 - 1}),
        ({"type": "integer", "minimum": 3},
         {"type": "integer", "minimum": 3, "maximum": 10**18 - 1}),
        ({"type": "integer", "exclusiveMaximum": 3},
         {"type": "integer", "exclusiveMaximum": 3, "minimum": 1 - 10**18}),
        ({"type": "integer", "minimum": 10**20}, {"type": "integer", "minimum": 10**20}),
        ({"type": "number"}, {"type": "number", "minimum": 1 - 10**15, "maximum": 10**15 - 1}),
        ({"type": "number", "minimum": 0, "maximum": 9},
         {"type": "number", "minimum": 0, "maximum": 9}),
        ({"type": "array", "items": {"type": "null"}},
         {"type": "array", "items": {"type": "null"}, "maxItems": 16}),
        ({"type": "array", "items": {"type": "null"}, "minItems": 20},
         {"type": "array", "items": {"type": "null"}, "minItems": 20, "maxItems": 20}),
        ({"type": "array", "items": {"type": "null"}, "maxItems": 900},
         {"type": "array", "items": {"type": "null"}, "maxItems": 900}),
        ({"type": "array", "prefixItems": [{"type": "null"}]},
         {"type": "array", "prefixItems": [{"type": "null"}]}),
        ({"enum": ["a", 1]}, {"enum": ["a", 1]}),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_schema_leaves_open_is_bounded_and_what_it_says_stays(
    schema: dict[str, Any], becomes: dict[str, Any]
) -> None:
    assert rewritten(schema, BOUNDED) == becomes


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "object"},
        {"type": "array"}, {"type": "string", "format": "email"}, {},
        {"type": "integer", "minimum": 1},
    ],
    ids=str,
)  # fmt: skip
def test_unbounded_leaves_them_alone(schema: dict[str, Any]) -> None:
    assert rewritten(schema, UNBOUNDED) == schema


def test_a_list_of_types_is_bounded_by_type() -> None:
    schema = {"type": ["integer", "null"], "description": "how many"}
    found = enforceable({"type": "object", "properties": {"v": schema}}, BOUNDED)
    assert found["properties"]["v"] == {"anyOf": [{"$ref": "#/$defs/integer"}, {"type": "null"}]}
    nested = {"type": ["object", "null"], "properties": {"a": {"type": "null"}}, "required": ["a"]}
    inner = {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]}
    assert rewritten(nested, BOUNDED) == {"anyOf": [inner, {"type": "null"}]}


def test_a_definition_of_the_same_name_keeps_it() -> None:
    schema = {
        "type": "object",
        "properties": {"v": {"type": "integer"}, "w": {"$ref": "#/$defs/integer"}},
        "$defs": {"integer": {"type": "null"}},
    }
    found = enforceable(schema, BOUNDED)
    assert found["$defs"]["integer"] == {"type": "null"}
    assert found["properties"]["v"] == {"$ref": "#/$defs/integer_"}
    assert json.dumps(found).count("integer_") == 2


def test_others_beside_properties_are_left_out_and_cost_nothing() -> None:
    schema = {"type": "object", "properties": {"v": {"type": "null"}}, "additionalProperties": True}
    assert enforceable(schema, BOUNDED) == schema | {"additionalProperties": False}
