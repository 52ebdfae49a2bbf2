"""The checked-in schema and reference are those of the models, and the schema is a true one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from hive_expert.errors import ManifestError
from hive_expert.manifest.honoured import HONOURED
from hive_expert.manifest.parse import manifest_from
from hive_expert.manifest.reference import reference_text
from hive_expert.manifest.schema import main, manifest_schema, schema_text
from tests.manifest.documents import changed, full, smallest

SCHEMAS = Path(__file__).parents[2] / "schemas"


def valid(document: Any) -> bool:
    return bool(Draft7Validator(manifest_schema()).is_valid(document))


def test_the_schema_file_is_as_generated() -> None:
    text = (SCHEMAS / "expert-manifest.schema.json").read_text(encoding="utf-8")
    assert text == schema_text(), "run: make schema"


def test_the_reference_is_as_generated() -> None:
    text = (SCHEMAS / "README.md").read_text(encoding="utf-8")
    assert text == reference_text(), "run: make schema"


def test_the_generator_writes_both_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["schema", "--write", "--directory", str(tmp_path)])
    main()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == reference_text()
    assert capsys.readouterr().out.count("as generated") == 2


def test_it_is_a_draft_7_schema_without_words_of_later_drafts() -> None:
    Draft7Validator.check_schema(manifest_schema())
    text = schema_text()
    assert manifest_schema()["$schema"] == "http://json-schema.org/draft-07/schema#"
    for word in ('"$defs"', '"prefixItems"', '"dependentRequired"', '"unevaluatedProperties"'):
        assert word not in text


# What ajv's strict mode lets a schema say; a keyword of one JSON type needs that type beside it.
OF_ANY_TYPE = {"$schema", "$ref", "title", "description", "default", "type", "enum", "const"}
OF_ANY_TYPE |= {"anyOf", "oneOf", "allOf", "definitions"}
OF_A_TYPE = {
    "string": {"pattern", "minLength", "maxLength"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "array": {"items", "minItems", "maxItems"},
    "object": {"properties", "patternProperties", "additionalProperties", "propertyNames"}
    | {"required"},
}


def subschemas(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    inner = [node[key] for key in ("items", "additionalProperties") if key in node]
    inner += [{"type": "string", **node["propertyNames"]}] if "propertyNames" in node else []
    for key in ("anyOf", "oneOf", "allOf"):
        inner += node.get(key, [])
    for key in ("definitions", "properties", "patternProperties"):
        inner += node.get(key, {}).values()
    for schema in inner:
        if isinstance(schema, dict):
            yield from subschemas(schema)


def test_it_keeps_to_ajvs_strict_mode() -> None:
    """`make ajv` asks ajv itself, where there is Node."""
    for node in subschemas(manifest_schema()):
        kind = node.get("type", "")
        assert isinstance(kind, str), node
        assert set(node) <= OF_ANY_TYPE | OF_A_TYPE.get(kind, set()), node
        assert set(node.get("required", [])) <= set(node.get("properties", {})), node


@pytest.mark.parametrize("document", [smallest(), full()], ids=["smallest", "full"])
def test_good_manifests_satisfy_it(document: dict[str, Any]) -> None:
    assert list(Draft7Validator(manifest_schema()).iter_errors(document)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "sql"),
        ("unknown", 1),
        ("license", None),
        ("base_models", []),
        ("base_models.0.adapters.0.rank", "8"),
        ("base_models.0.adapters.0.target_modules", ["lm_head"]),
        ("training.decoding.temperature", 3),
        ("training.decoding.top_k", "50"),
        ("training.decoding.validation", "yaml"),
        ("base_models.0.rope_scaling", {"type": "yarn", "unknown": 1}),
    ],
)
def test_what_the_models_refuse_of_a_field_it_refuses_too(path: str, value: object) -> None:
    document = changed(smallest(), path, value)
    assert not valid(document)
    with pytest.raises(ManifestError):
        manifest_from(document)


@pytest.mark.parametrize("path", ["_comment", "base_models.0._comment", "runtime.anything"])
def test_what_the_models_let_pass_it_does_too(path: str) -> None:
    document = changed(smallest(), path, {"any": ["thing"]})
    assert valid(document)
    manifest_from(document)


def test_rank_is_known_to_it() -> None:
    document = smallest()
    adapter = document["base_models"][0]["adapters"][0]
    adapter["rank"] = adapter.pop("r")
    assert valid(document)


def test_every_field_is_described() -> None:
    schema = manifest_schema()
    for name, record in {"": schema, **schema["definitions"]}.items():
        for field, node in record["properties"].items():
            assert node.get("description"), f"{name}.{field} has no description"


def test_the_reference_shows_every_status() -> None:
    text = reference_text()
    for entry in HONOURED.values():
        assert entry.detail in text
        assert entry.unless in text
