"""Which schemas hold an answer to what they say."""

from __future__ import annotations

from typing import Any

import pytest

from hive_expert.decoding.schema_limits import (
    LONGEST_COUNTED,
    MAX_PROBLEMS,
    limit_problems,
    unenforced,
)

ADDED = "additionalProperties"
TEXT = {"type": "string"}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"name": TEXT, "under": {"type": "array", "items": {"$ref": "#"}}},
        }
    },
}
"""Enforced as far as it goes, but answers may have no end: an author's choice, not a prompt's."""


@pytest.mark.parametrize(
    ("schema", "where", "what"),
    [
        ({"not": TEXT}, "not", "does not enforce not"),
        ({"allOf": [TEXT]}, "allOf", "does not enforce allOf"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems", "does not enforce uniqueItems"),
        ({"$dynamicRef": "#node"}, "$dynamicRef", "does not enforce $dynamicRef"),
        ({"properties": {"a": {"$ref": "#a"}}}, "properties.a.$ref", "does not follow it"),
        ({"items": {"$ref": "other.json"}}, "items.$ref", "does not follow it"),
        ({"anyOf": [{"type": "string", "format": "iri"}]}, "anyOf[0].format", "does not know"),
        ({"type": "string", "pattern": "a+", "maxLength": 3}, "", "drops a length"),
        ({"minLength": 3}, "minLength", "beside no type of string alone"),
        ({"type": "string", "const": 1}, "type", "a listed value is of another type"),
        ({"$ref": "#/$defs/a", "minLength": 1, "type": "string"}, "", "reads $ref alone"),
        ({"required": ["a"]}, "required", "a is not among the properties"),
    ],
)
def test_what_an_answer_could_break_is_told(schema: dict[str, Any], where: str, what: str) -> None:
    found = unenforced(schema)
    assert [problem.where for problem in found] == [where]
    assert what in found[0].what
    assert {problem.what for problem in found} <= {p.what for p in limit_problems(schema)}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        TREE,
        {"type": "string", "maxLength": LONGEST_COUNTED},
        {"additionalProperties": TEXT},
        {"type": "object", "properties": {f"p{n}": TEXT for n in range(2000)}},
        {"properties": {"not": TEXT, "$ref": TEXT}, "description": "not a $ref"},
    ],
)
def test_an_author_s_schema_may_be_large_and_contain_itself(schema: dict[str, Any]) -> None:
    assert unenforced(schema) == ()


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"properties": {"a": {"type": "integer"}}, "additionalProperties": TEXT}, ADDED),
        ({"properties": {"a": {"type": "integer"}}, "additionalProperties": True}, ADDED),
        ({"type": "string", "maxLength": LONGEST_COUNTED + 1}, "maxLength"),
        ({"type": "string", "minLength": LONGEST_COUNTED + 1}, "minLength"),
    ],
)
def test_an_author_is_told_what_would_have_to_be_narrowed(
    schema: dict[str, Any], where: str
) -> None:
    assert [problem.where for problem in unenforced(schema)] == [where]


def test_a_prompt_s_may_not() -> None:
    assert limit_problems(TREE)


@pytest.mark.parametrize("name", ["a", "const", "default", "enum", "examples"])
def test_nor_may_it_under_any_name(name: str) -> None:
    """No answer would ever end that has to have the property."""
    holder = {"type": "object", "properties": {name: {"$ref": "#/$defs/it"}}, "required": [name]}
    problems = limit_problems({"$ref": "#/$defs/it", "$defs": {"it": holder}})
    assert {problem.what for problem in problems} == {"a schema that contains itself"}


def test_a_handful_of_problems_is_enough() -> None:
    schema = {"properties": {f"p{n}": {"not": TEXT} for n in range(50)}}
    assert len(unenforced(schema)) == len(limit_problems(schema)) == MAX_PROBLEMS
