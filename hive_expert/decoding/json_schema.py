"""JSON Schemas that constrain an answer: read strictly, checked, made compact. SPEC section 7."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import referencing
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from hive_expert.errors import DecodingError, Problem
from hive_expert.manifest.strict_json import join, located, read_json

MAX_BYTES = 64 * 1024
MAX_PROBLEMS = 50
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_NAMED = frozenset(
    {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}
)
"""Keywords whose value has schemas by name."""
_DATA = frozenset({"enum", "const", "default", "examples"})
"""Keywords whose value has no schemas; a property or definition of such a name is one."""


def compact_json_schema(
    source: bytes | Mapping[str, Any], where: str, *, max_parts: int | None = None
) -> str:
    """Check a schema, given as a file's bytes or as a value, and write it on one line.

    The order of keys is kept: the compiler makes it the order of the answer's properties.
    A `$ref` must stay inside the document, since nothing is ever fetched.

    Args:
        max_parts: how many schemas, and how many entries of lists, it may have. Counting those
            takes no time beside checking them, and that grows with their square.

    Raises:
        DecodingError: with every problem: not strict JSON, too large, not a schema of its draft
            (2020-12 unless `$schema` says otherwise), a reference to elsewhere.
    """
    data = source if isinstance(source, bytes) else _written(source, where)
    schema = read_json(data, where, error=DecodingError, max_bytes=MAX_BYTES)
    if not isinstance(schema, dict):
        raise DecodingError(Problem(where, "is not a JSON object", "a schema is one"))
    if max_parts is not None and max(_parts(schema)) > max_parts:
        raise DecodingError(Problem(where, f"more than {max_parts} schemas or entries in one"))
    problems = [*_draft_problems(schema, where), *_foreign_references(schema, where)]
    if problems:
        raise DecodingError(*problems)
    return _dumped(schema)


def _written(source: Mapping[str, Any], where: str) -> bytes:
    # Through the same door as a file, so that limits and strictness are the same.
    try:
        return _dumped(source).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DecodingError(Problem(where, f"is not JSON: {type(error).__name__}")) from error


def _dumped(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, separators=(",", ":"))


def _parts(schema: Any) -> tuple[int, int]:
    """How many schemas and entries of lists there are in what may not even be a schema."""
    schemas = entries = 0
    stack = [schema]
    while stack:
        value = stack.pop()
        schemas += isinstance(value, dict | bool)
        if isinstance(value, dict):
            for key, item in value.items():
                named = key in _NAMED and isinstance(item, dict)
                stack += item.values() if named else [item]
        elif isinstance(value, list):
            entries += len(value)
            stack += value
    return schemas, entries


def _draft_problems(schema: dict[str, Any], where: str) -> Iterator[Problem]:
    kind = validator_for(schema, default=Draft202012Validator)
    for error in islice(validator_of(kind.META_SCHEMA).iter_errors(schema), MAX_PROBLEMS):
        path = ""
        for key in error.absolute_path:
            path = join(path, key)
        yield Problem(located(where, path), f"not JSON Schema: {error.message[:200]}")


def _foreign_references(schema: dict[str, Any], where: str) -> Iterator[Problem]:
    for path, reference in references(schema):
        if not reference.startswith("#"):
            yield Problem(located(where, path), "refers to another document", "copy it in")


def validator_of(schema: Mapping[str, Any]) -> Validator:
    """What checks values under a schema, of the draft that it names or else 2020-12.

    Law: nothing is ever fetched. By itself the library opens whatever address a reference names,
    files included, and references may stand where `references` sees only data.
    """
    kind = validator_for(schema, default=Draft202012Validator)
    return kind(schema, registry=referencing.Registry())


def references(schema: Any) -> Iterator[tuple[str, str]]:
    """Where a schema refers to another, and how."""
    stack: list[tuple[str, Any]] = [("", schema)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            for key, item in value.items():
                inner = join(path, key)
                if key in _REFERENCES and isinstance(item, str):
                    yield inner, item
                elif key in _NAMED and isinstance(item, dict):
                    stack += [(join(inner, name), schema) for name, schema in item.items()]
                elif key not in _DATA:
                    stack.append((inner, item))
        elif isinstance(value, list):
            stack += [(join(path, position), item) for position, item in enumerate(value)]


def is_followed(reference: str) -> bool:
    """Whether the compiler goes where a reference points: into the document, by a path. It takes
    any value in the place of others, to anchors and other documents."""
    return reference == "#" or reference.startswith("#/")
