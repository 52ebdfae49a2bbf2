"""Manifests of any content are read as they were written; any bytes give a manifest or a reason."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hive_expert.errors import ManifestError
from hive_expert.manifest.fields import field_status
from hive_expert.manifest.honoured import HONOURED
from hive_expert.manifest.parse import dump_manifest, manifest_from, parse_manifest
from hive_expert.manifest.versions import precedence
from tests.manifest.documents import full

SAFE = st.characters(exclude_categories=("Cs", "Cc"))
LINE = st.text(SAFE, min_size=1, max_size=20)
TEXT = st.text(SAFE, max_size=40)
SLUG = st.from_regex(r"\A[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,2}\Z")
NAME = SLUG.map("expert-{}".format)
PATH = st.from_regex(r"\A[a-z0-9_-]{1,6}(/[a-z0-9_-][a-z0-9._-]{0,6}){0,2}/?\Z")
NUMBER = st.floats(allow_nan=False, allow_infinity=False, width=32)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=2)
TARGETS = st.lists(
    st.sampled_from(["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"]),
    min_size=1,
    max_size=4,
    unique=True,
)
COMMENTS = st.dictionaries(TEXT.map("_{}".format), JSON, max_size=2)


def record(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with any subset of the fields, and comments."""
    return st.builds(lambda a, b: {**a, **b}, st.fixed_dictionaries({}, optional=fields), COMMENTS)


ADAPTER = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["lora", "dora"]),
        "r": st.integers(1, 512),
        "alpha": st.floats(0.125, 512) | st.integers(1, 512),
        "target_modules": TARGETS,
        "path": PATH,
    },
    optional={"dropout": st.floats(0, 0.9), "size_bytes": st.integers(0, 2**40)},
)
DECODING = record(
    temperature=st.floats(0, 2),
    top_p=st.floats(0.01, 1),
    top_k=st.integers(-1, 1000),
    min_p=st.floats(0, 1),
    max_tokens=st.integers(1, 10_000),
    stop_sequences=st.lists(st.text(SAFE, min_size=1, max_size=8), max_size=4),
    grammar_file=PATH,
)
LIMITATION = record(description=TEXT, example=TEXT).map(lambda d: {"pattern": "x", **d})
MANIFEST = st.fixed_dictionaries(
    {
        "name": NAME,
        "version": st.from_regex(r"\A[0-9]\.[0-9]\.[1-9][0-9]?(-[a-z]{1,4}(\.[0-9])?)?\Z"),
        "schema_version": st.just("2.0"),
        "base_models": st.lists(
            st.fixed_dictionaries(
                {"name": LINE, "adapters": st.lists(ADAPTER, min_size=1, max_size=2)}
            ),
            min_size=1,
            max_size=2,
            unique_by=lambda entry: entry["name"],
        ),
    },
    optional={
        "description": TEXT,
        "author": LINE,
        "capabilities": st.lists(SLUG.map("task:{}".format), max_size=3),
        "limitations": st.lists(LIMITATION, max_size=2),
        "routing": record(keywords=st.lists(LINE, max_size=3), priority=st.floats(0, 1)),
        "training": record(
            decoding=DECODING,
            dataset=record(path=LINE, augmentation=st.booleans() | OBJECT),
            alternative_checkpoints=st.lists(OBJECT, max_size=1),
        ),
        "perf": record(latency_ms_overhead=NUMBER),
        "runtime": record(anything=JSON.filter(lambda value: value is not None)),
        "evaluation": record(thresholds=st.dictionaries(LINE, NUMBER, max_size=2)),
        "_comment": JSON,
    },
)


@given(MANIFEST)
def test_a_manifest_is_read_as_it_was_written(document: dict[str, Any]) -> None:
    manifest = manifest_from(document)
    written = dump_manifest(manifest)
    assert parse_manifest(written) == manifest
    assert dump_manifest(parse_manifest(written)) == written


@given(MANIFEST)
def test_writing_keeps_every_value_and_adds_none(document: dict[str, Any]) -> None:
    assert json.loads(dump_manifest(manifest_from(document))) == document


@given(MANIFEST)
def test_every_row_of_the_status_table_is_one_of_the_four(document: dict[str, Any]) -> None:
    for row in field_status(manifest_from(document)):
        assert row.status in {"enforced", "passed", "recorded", "refused"}
        assert row.detail


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_a_manifest_or_reasons(data: bytes) -> None:
    try:
        parse_manifest(data)
    except ManifestError as error:
        assert error.problems


def leaves(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    found = [leaf for key, value in items for leaf in leaves(value, (*path, key))]
    return [path, *found] if path else found


@given(st.sampled_from(leaves(full())), JSON)
def test_any_value_in_any_place_gives_a_manifest_or_reasons(
    path: tuple[Any, ...], value: Any
) -> None:
    document = full()
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    try:
        field_status(manifest_from(document))
    except ManifestError as error:
        assert all(problem.where.startswith("manifest.json") for problem in error.problems)


VERSION = st.from_regex(
    r"\A(0|[1-9][0-9]?)\.(0|[1-9])\.(0|[1-9])(-(0|[1-9]|[a-c]{1,2})(\.(0|[1-9]|[a-c]))?)?\Z"
)


@given(VERSION, VERSION, VERSION)
def test_versions_are_in_one_order(a: str, b: str, c: str) -> None:
    first, second, third = sorted((a, b, c), key=precedence)
    assert precedence(first) <= precedence(second) <= precedence(third)
    assert (precedence(a) == precedence(b)) == (a == b)


def test_the_full_document_names_every_field_of_the_table() -> None:
    """The mutations above start from a manifest in which nothing is missing."""

    def pattern(path: tuple[Any, ...]) -> str:
        text = ""
        for step in path:
            text += "[]" if isinstance(step, int) else f".{step}" if text else str(step)
        return text

    present = {pattern(path) for path in leaves(full())}
    absent = {p for p in HONOURED if p not in present and not p.endswith("*")}
    # Stated once by the adapter; training.config may leave them out.
    assert {p for p in absent if not p.startswith("training.config.")} == {
        "training.decoding.validation.json_schema"
    }
