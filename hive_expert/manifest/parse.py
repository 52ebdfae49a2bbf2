"""From bytes to a Manifest and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hive_expert.manifest.model import Manifest
from hive_expert.manifest.record import Record
from hive_expert.manifest.strict_json import join, read_json
from hive_expert.manifest.validation import build
from hive_expert.manifest.version1 import as_version_2, is_version_1

MAX_VALUES = 20_000  # a manifest of every field with generous lists has a few thousand


def parse_manifest(data: bytes, where: str = "manifest.json") -> Manifest:
    """Read a manifest (SPEC section 3); one of version 1.0 is returned as 2.0.

    Raises ManifestError with every problem, each with its JSON path and, for an unknown key, the
    nearest known name. ``where`` names the file in those messages.
    """
    return manifest_from(read_json(data, where, max_values=MAX_VALUES), where)


def manifest_from(document: Any, where: str = "manifest.json") -> Manifest:
    """Build a manifest from plain values; the checks of :func:`parse_manifest` apply."""
    if isinstance(document, dict) and is_version_1(document):
        rewritten = as_version_2(document, where)
        return build(Manifest, rewritten.document, where, place=rewritten.place)
    return build(Manifest, document, where)


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
    if isinstance(value, Record):
        for key, text in value.comments.items():
            yield join(path, key), text
        for name in type(value).model_fields:
            yield from _comments(getattr(value, name), join(path, name))
    elif isinstance(value, tuple):
        for position, item in enumerate(value):
            yield from _comments(item, join(path, position))
