"""JSON Schemas that constrain an answer."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

import pytest
from referencing.exceptions import Unresolvable

from hive_expert.decoding.json_schema import (
    MAX_BYTES,
    MAX_PROBLEMS,
    compact_json_schema,
    is_followed,
    references,
    validator_of,
)
from hive_expert.errors import DecodingError

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"z": {"$ref": "#/$defs/text"}, "a": {"enum": ["\u00e9", None, 1.5]}},
    "required": ["z"],
    "$defs": {"text": {"type": "string", "maxLength": 10}},
}


def test_the_schema_stays_the_same_and_keeps_its_order() -> None:
    compact = compact_json_schema(json.dumps(SCHEMA, indent=4).encode(), "s.json")
    assert json.loads(compact) == SCHEMA
    assert list(json.loads(compact)["properties"]) == ["z", "a"]
    assert " " not in compact
    assert compact.isascii()


def test_a_value_and_a_file_give_the_same() -> None:
    data = json.dumps(SCHEMA).encode()
    assert compact_json_schema(SCHEMA, "x") == compact_json_schema(data, "s.json")


@pytest.mark.parametrize("schema", [{}, {"type": ["string", "null"]}, {"const": 1}])
def test_small_schemas_are_accepted(schema: dict[str, Any]) -> None:
    assert json.loads(compact_json_schema(schema, "x")) == schema


@pytest.mark.parametrize(
    ("source", "part"),
    [
        (b"{", "s.json: line 1 column 2: not JSON"),
        (b"\xff", "s.json: is not UTF-8"),
        (b"[]", "s.json: is not a JSON object"),
        (b"true", "s.json: is not a JSON object"),
        (b'{"type": "object", "type": "array"}', "s.json: type: the key appears more than once"),
        (b'{"minimum": NaN}', "NaN is not JSON"),
        (b" " * (MAX_BYTES + 1), "more than the 65536 allowed"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested deeper than 32"),
        ({"type": "text"}, "s.json: type: not JSON Schema"),
        ({"properties": {"a": {"minLength": -1}}}, "s.json: properties.a.minLength: not JSON Sch"),
        ({"required": "a"}, "s.json: required: not JSON Schema"),
        ({"$ref": "https://example.org/s.json"}, "s.json: $ref: refers to another document"),
        ({"items": [], "$schema": "https://json-schema.org/draft/2020-12/schema"}, "items: not"),
        ({"anyOf": [{"$ref": "other.json"}]}, "s.json: anyOf[0].$ref: refers to another document"),
        ({"$defs": {"default": {"$ref": "http://a.test/s"}}}, "$defs.default.$ref: refers to an"),
        ({"const": float("nan")}, "NaN is not JSON"),
        ({"const": "\ud800"}, "lone surrogate"),
        ({"const": object()}, "s.json: is not JSON: TypeError"),
    ],
)
def test_what_is_refused(source: Any, part: str) -> None:
    with pytest.raises(DecodingError) as refused:
        compact_json_schema(source, "s.json")
    assert part in str(refused.value)


def test_references_are_found_wherever_schemas_stand_and_not_in_data() -> None:
    schema = {
        "properties": {"$ref": {"$ref": "#/$defs/a"}},
        "allOf": [{"$dynamicRef": "#b"}],
        "enum": [{"$ref": "data"}],
        "default": {"$ref": "data"},
        "definitions": {"enum": {"examples": [{"$ref": "data"}], "items": {"$ref": "#c"}}},
    }
    assert sorted(references(schema)) == [
        ("allOf[0].$dynamicRef", "#b"),
        ("definitions.enum.items.$ref", "#c"),
        ("properties.$ref.$ref", "#/$defs/a"),
    ]


@pytest.mark.parametrize("data", ["const", "default", "enum", "examples"])
@pytest.mark.parametrize("holder", ["$defs", "dependentSchemas", "patternProperties", "properties"])
def test_a_schema_under_a_name_is_none_the_less_one(holder: str, data: str) -> None:
    """Whatever the name: a property may be called `default`."""
    assert [found for _, found in references({holder: {data: {"$ref": "x"}}})] == ["x"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/s.json", "file:///etc/hostname"])
def test_nothing_is_fetched(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(urllib.request, "urlopen", opened.append)
    # A reference into data, which `references` does not look at.
    validator = validator_of({"default": {"$ref": address}, "$ref": "#/default"})
    with pytest.raises(Unresolvable):
        validator.validate(1)
    assert opened == []


@pytest.mark.parametrize(
    ("reference", "followed"),
    [("#", True), ("#/$defs/a", True), ("#a", False), ("a.json#/b", False), ("", False)],
)
def test_the_compiler_follows_paths_within_the_document(reference: str, followed: bool) -> None:
    assert is_followed(reference) is followed


def test_all_problems_at_once() -> None:
    with pytest.raises(DecodingError) as refused:
        compact_json_schema({"type": "text", "required": 1, "not": {"$ref": "x.json"}}, "s")
    assert len(refused.value.problems) == 3


def test_a_schema_that_contains_itself_is_refused() -> None:
    schema: dict[str, Any] = {}
    schema["not"] = schema
    with pytest.raises(DecodingError, match="is not JSON: ValueError"):
        compact_json_schema(schema, "s")


def test_thousands_of_mistakes_end_soon() -> None:
    schema = {"properties": {f"p{i}": {"type": 1} for i in range(3_000)}}
    started = time.process_time()
    with pytest.raises(DecodingError) as refused:
        compact_json_schema(schema, "s")
    assert time.process_time() - started < 1
    assert len(refused.value.problems) <= MAX_PROBLEMS
