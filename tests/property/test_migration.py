"""Migration loses nothing: the manifest of version 1.0 can be told from that of version 2.0."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hive_expert.manifest.migrate import migrate
from hive_expert.manifest.parse import dump_manifest
from hive_expert.manifest.version1 import SPELLINGS
from tests.property.test_manifest import COMMENTS, MANIFEST

OLD = st.builds(
    lambda document, in_base, in_adapter: version_1(document, in_base, in_adapter),
    MANIFEST.filter(lambda document: len(document["base_models"]) == 1),
    COMMENTS,
    COMMENTS,
)


def version_1(
    document: dict[str, Any], in_base: dict[str, Any], in_adapter: dict[str, Any]
) -> dict[str, Any]:
    """A manifest of one base model in its first form, with comments in what is moved."""
    document = {**document, "schema_version": "1.0"}
    (base,) = document.pop("base_models")
    first, *others = base["adapters"]
    document["base_model"] = {k: v for k, v in base.items() if k != "adapters"} | in_base
    document["adapters"] = [{**first, **in_adapter}, *others]
    return document


def projected(document: dict[str, Any]) -> dict[str, Any]:
    """Back to version 1.0."""
    (base,) = document["base_models"]
    rest = {k: v for k, v in document.items() if k != "base_models"}
    moved = {"base_model": {k: v for k, v in base.items() if k != "adapters"}}
    return {**rest, **moved, "schema_version": "1.0", "adapters": base["adapters"]}


def respelled(value: Any, place: str, draw: Any) -> Any:
    """The same with other names for some of its fields."""
    if isinstance(value, list):
        return [respelled(item, f"{place}[]", draw) for item in value]
    if not isinstance(value, dict):
        return value
    names = SPELLINGS.get(place, {})
    out = {}
    for key, inner in value.items():
        others = [key, *(other for other, field in names.items() if field == key)]
        name = draw(st.sampled_from(others)) if len(others) > 1 else key
        out[name] = (
            inner if key.startswith("_") else respelled(inner, f"{place}.{key}".lstrip("."), draw)
        )
    return out


@given(OLD, st.data())
def test_migrating_and_projecting_back_gives_what_was_there(
    document: dict[str, Any], data: st.DataObject
) -> None:
    written = respelled(document, "", data.draw)
    assert projected(json.loads(dump_manifest(migrate(written)))) == document


@given(OLD)
def test_an_absent_schema_version_means_the_same(document: dict[str, Any]) -> None:
    silent = {key: value for key, value in document.items() if key != "schema_version"}
    assert migrate(silent) == migrate(document)
