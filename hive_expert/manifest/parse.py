"""From bytes to a Manifest and back."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hive_expert.errors import ManifestError, Problem
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.record import NOT_IN_DOCUMENT, NULL, Record, record_in
from hive_expert.manifest.strict_json import join, located, read_json


def parse_manifest(data: bytes, where: str = "manifest.json") -> Manifest:
    """Read a manifest of version 2.0 (SPEC section 3).

    Raises ManifestError with every problem, each with its JSON path and, for an unknown key, the
    nearest known name. ``where`` names the file in those messages.
    """
    document = read_json(data, where)
    if not isinstance(document, dict):
        raise ManifestError(Problem(where, "is not a JSON object"))
    return manifest_from(document, where)


def manifest_from(document: Mapping[str, Any], where: str = "manifest.json") -> Manifest:
    """Build a manifest from plain values; the checks of :func:`parse_manifest` apply."""
    if "schema_version" not in document and "base_model" in document:
        document = {**document, "schema_version": "1.0"}
    if document.get("schema_version") == "1.0":
        raise ManifestError(
            Problem(
                located(where, "schema_version"),
                "manifests of version 1.0 are not read by this release",
                'write it as 2.0: schema_version "2.0", adapters inside base_models[]',
            )
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as exc:
        raise ManifestError(*_problems(exc, where)) from exc


def dump_manifest(manifest: Manifest) -> bytes:
    """Write a manifest: two-space indent, keys in the model's order, unset fields left out,
    comment keys kept at the top of their object. The same manifest gives the same bytes.
    """
    document = manifest.model_dump(mode="json", exclude_unset=True)
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def comments(manifest: Manifest) -> tuple[tuple[str, Any], ...]:
    """Every comment key with its JSON path, in document order."""
    return tuple(_comments(manifest, ""))


def _comments(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        for key, text in getattr(value, "comments", {}).items():
            yield join(path, key), text
        for name in type(value).model_fields:
            yield from _comments(getattr(value, name), join(path, name))
    elif isinstance(value, tuple):
        for position, item in enumerate(value):
            yield from _comments(item, join(path, position))


def _problems(exc: ValidationError, where: str) -> Iterator[Problem]:
    for error in exc.errors(include_url=False):
        if error["type"] == "too_short" and error["input"]:
            continue  # its items are what is wrong, and they are reported
        yield _problem(error, where)


def _problem(error: ErrorDetails, where: str) -> Problem:
    path, record = _place(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            what, remedy = "unknown key", _nearest(str(error["loc"][-1]), record)
        case "missing":
            what, remedy = "is missing", ""
        case _ if error["input"] is NULL:
            what, remedy = "null is not a value", "leave the field out"
        case "literal_error":
            expected = str(error["ctx"]["expected"])
            what, remedy = f"{_shown(error['input'])} is not one of {expected}", ""
        case "contradiction" | "unsupported_adapter" | "unstable_target":
            what, remedy = error["msg"], str(error["ctx"]["remedy"])
        case _:
            what, remedy = f"{_shown(error['input'])} is not valid: {_lower(error['msg'])}", ""
    return Problem(located(where, path), what, remedy)


def _place(loc: tuple[int | str, ...]) -> tuple[str, type[Record] | None]:
    """The JSON path of an error, and the record that holds the field.

    Pydantic's location also names the branch it took in a union; that is left out.
    """
    path = ""
    record: type[Record] | None = Manifest
    for step in loc[:-1]:
        if step in NOT_IN_DOCUMENT:
            continue
        path = join(path, step)
        if isinstance(step, str) and record is not None:
            field = record.model_fields.get(step)
            record = record_in(field.annotation) if field else None
    return (path if loc[-1] in NOT_IN_DOCUMENT else join(path, loc[-1])), record


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _nearest(key: str, record: type[Record] | None) -> str:
    names = list(record.model_fields) if record else []
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"
