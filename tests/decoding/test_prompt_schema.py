"""The schema in the prompt is taken if it is fit, and otherwise it is told why not."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from vllm.v1.structured_output.backend_xgrammar import has_xgrammar_unsupported_json_features

from hive_expert.decoding import json_schema
from hive_expert.decoding.prompt import Message
from hive_expert.decoding.prompt_schema import prompt_schema, stated_schema
from hive_expert.errors import DecodingError

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"enum": ["a"]}}},
    "required": ["name"],
    "additionalProperties": False,
}


def of(schema: Any) -> str:
    return schema if isinstance(schema, str) else json.dumps(schema)


def found(schema: Any) -> Any:
    return prompt_schema([Message("system", f"Dialect: json\nSchema:\n{of(schema)}")])


@pytest.mark.parametrize(
    "messages",
    [
        [Message("system", f"Dialect: json\nSchema:\n{of(PERSON)}"), Message("user", "Anna")],
        [Message("user", f"Extract: Anna {{is}} here. Schema: {of(PERSON)}")],
        [Message("user", f"Schema: {of(PERSON)}\nAnna is here {{or}} there")],
        [Message("user", f"Schema:\n\n  {json.dumps(PERSON, indent=2)}\n\nAnna")],
        [Message("system", "Schema: see below"), Message("user", f"Schema: {of(PERSON)}")],
    ],
)
def test_it_is_found_in_every_form(messages: list[Message]) -> None:
    schema = json.loads(prompt_schema(messages).schema or "")
    assert list(schema["properties"]) == ["name", "tags"]
    assert schema["properties"]["tags"]["items"] == {"enum": ["a"]}
    assert (schema["required"], schema["additionalProperties"]) == (["name"], False)


def test_what_the_messages_say_beside_it_bounds_the_answer() -> None:
    def texts(said: str) -> Any:
        system = Message("system", f"Dialect: json\nSchema:\n{json.dumps(PERSON)}")
        found = prompt_schema([system, Message("user", said), Message("assistant", "x" * 999)])
        return json.loads(found.schema or "").get("$defs", {}).keys()

    assert texts("Anna") == {"text_0_64"}
    assert texts("Anna" * 20) == {"text_0_128"}
    assert texts("Anna" * 100) == texts("two\nlines") == set()


def test_the_schema_itself_is_no_part_of_what_is_said() -> None:
    both = f'Extract JSON from: "Anna is here." Schema: {of(PERSON)}'
    found = prompt_schema([Message("user", both)])
    assert "text_0_64" in json.loads(found.schema or "")["$defs"]


@pytest.mark.parametrize("text", ["", "no schema", "Schema:", "Schema: users(id)", "Schema: [1]"])
def test_without_one_the_reason_is_told(text: str) -> None:
    result = prompt_schema([Message("user", text)])
    assert (result.schema, result.reason) == (None, "no schema found")


@pytest.mark.parametrize("text", ["{", '{"type": 3}', "{'type': 'object'}", '{"a": 1, "a": 2}'])
def test_a_broken_schema_is_not_looked_past(text: str) -> None:
    messages = [Message("system", f"Schema: {text}"), Message("user", f"Schema: {of(PERSON)}")]
    assert prompt_schema(messages).schema is None


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


RECURSIVE = {
    "type": "object",
    "properties": {"next": {"$ref": "#/$defs/node"}},
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
}
HOSTILE = {
    "a huge enum": {"enum": [f"value {i}" for i in range(3000)]},
    "many enums": {
        "type": "object",
        "properties": {f"p{i}": {"enum": list(range(100))} for i in range(50)},
    },
    "deep": nested(30),
    "deeper than any parser": '{"a":' * 5000 + "1" + "}" * 5000,
    "10,000 columns": {"type": "object", "properties": {f"c{i}": {} for i in range(10_000)}},
    "2,000 columns": {"type": "object", "properties": {f"c{i}": {} for i in range(2000)}},
    "recursion": RECURSIVE,
    "a root that contains itself": {"type": "object", "properties": {"a": {"$ref": "#"}}},
    "a reference to nothing": {"$ref": "#/$defs/missing"},
    "a reference to elsewhere": {"$ref": "https://example.org/schema"},
    "a long repetition": {"type": "string", "maxLength": 1_000_000},
    "a large number": {"type": "array", "items": {"type": "string"}, "minItems": 100_000},
    "an unenforced keyword": {"type": "array", "uniqueItems": True},
    "not": {"not": {"type": "string"}},
    "conditions": {"if": {"type": "string"}, "then": {"minLength": 3}},
    "multiples": {"type": "integer", "multipleOf": 7},
    "all of two": {"allOf": [{"type": "string"}, {"enum": ["a"]}]},
    "a length beside a pattern": {"type": "string", "pattern": "^a+$", "maxLength": 3},
    "an unknown format": {"type": "string", "format": "colour"},
    "an enum beside properties": {"enum": [{}], "properties": {"a": {}}},
    "two references in a ring": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
    },
}


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_what_no_compiler_should_see_is_refused_soon(schema: Any) -> None:
    started = time.process_time()
    result = found(schema)
    assert time.process_time() - started < 2
    assert result.schema is None
    assert result.reason.startswith("the prompt's schema")


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [True] * 1001},
        {"type": "object", "patternProperties": {f"c{i}": True for i in range(1001)}},
        {"type": [{}, *range(1001)]},
    ],
    ids=["schemas in a list", "schemas by name", "entries"],
)
def test_what_has_too_many_parts_is_refused_before_it_is_checked(
    schema: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_schema, "validator_for", None)
    with pytest.raises(DecodingError, match="more than 1000"):
        stated_schema([Message("system", f"Schema:\n{of(schema)}")])


def test_as_many_columns_as_may_be_are_not_too_many() -> None:
    schema = {"type": "object", "properties": {f"c{i}": {} for i in range(999)}}
    assert found(schema).schema is not None


@pytest.mark.parametrize(
    "schema",
    [
        PERSON,
        nested(8),
        {"type": "string", "format": "date"},
        {},
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": ["array", "object"]},
    ],
)
def test_what_is_taken_vllm_takes_too(schema: Any) -> None:
    result = found(schema)
    assert result.schema is not None
    assert not has_xgrammar_unsupported_json_features(json.loads(result.schema))
