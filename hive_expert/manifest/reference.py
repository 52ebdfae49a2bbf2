"""The text of `schemas/README.md`: every field, what it may hold, and how it is honoured."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from hive_expert.manifest.honoured import HONOURED
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.record import Record, record_in
from hive_expert.manifest.schema import SCHEMA_FILE, manifest_schema
from hive_expert.manifest.strict_json import join
from hive_expert.manifest.version1 import SPELLINGS

_INTRODUCTION = f"""\
# Manifest reference

Generated from the models by `make schema`; edit `hive_expert/manifest/` instead.

[`{SCHEMA_FILE}`]({SCHEMA_FILE}) is the JSON Schema (Draft 7) of `manifest.json`, version 2.0.
Point your editor's settings at it. `hive-build validate` checks more than a schema can say:
fields that contradict each other, duplicate keys, and what this version honours.

Manifests of version 1.0 (one `base_model` object, `adapters` at the root) are read too, as the
same manifest of version 2.0; `hive-build migrate` rewrites them. [Below](#version-10) are the
other names that fields had there.

- A key that begins with `_` is a comment: kept, ignored, listed.
- Any other key that is not listed here is an error, and so is `null`: leave a field out instead.
- A manifest is UTF-8, at most 1 MiB, nested at most 32 deep.

Status, as `hive-build validate` prints it for each field that is present:

- **enforced**: it has its effect, or the expert is refused;
- **passed**: handed to vLLM under the name given;
- **recorded**: kept and shown, without effect on answers;
- **refused**: this version cannot honour it, so it refuses the expert rather than ignore it. In
  `training.dataset` and `training.config` it is `hive-train` that refuses, and `validate` that
  tells; an expert that was trained elsewhere is packed and served all the same.
"""


def reference_text() -> str:
    """The whole document."""
    schema = manifest_schema()
    sections = [_INTRODUCTION]
    sections += [
        _section(path, record, schema) for path, record in records(Manifest, "", "Manifest")
    ]
    sections.append(_version_1())
    return "\n".join(sections)


def records(record: type[Record], pattern: str, path: str) -> Iterator[tuple[str, type[Record]]]:
    """Every object of a manifest, as (pattern in HONOURED, its class), outer ones first."""
    yield pattern, record
    for name, field in record.model_fields.items():
        if (inner := record_in(field.annotation)) is not None:
            many = "[]" if str(field.annotation).startswith("tuple") else ""
            yield from records(inner, join(pattern, name) + many, path)


def leaf_patterns(record: type[Record] = Manifest, pattern: str = "") -> Iterator[str]:
    """The pattern of every field that holds a value, in order; those HONOURED must know."""
    for name, field in record.model_fields.items():
        here = join(pattern, name)
        inner = record_in(field.annotation)
        annotation = str(field.annotation)
        if inner is None or "<short>" in annotation:
            yield here
        if inner is not None:
            yield from leaf_patterns(inner, here + ("[]" if annotation.startswith("tuple") else ""))
    if record.model_config.get("extra") == "allow":
        yield f"{pattern}.*"


def _version_1() -> str:
    lines = [
        "## Version 1.0",
        "",
        "There, a field may also go by the name that PEFT, TRL or transformers gives it. A field",
        "under two names is an error; in a manifest of version 2.0 such a name is an unknown key",
        "(but for `rank` of an adapter).",
        "",
        "| object | other name | field |",
        "|---|---|---|",
    ]
    for place, names in SPELLINGS.items():
        lines += [_row((f"`{place}`", f"`{old}`", f"`{new}`")) for old, new in names.items()]
    return "\n".join([*lines, ""])


def _section(pattern: str, record: type[Record], schema: dict[str, Any]) -> str:
    properties = (schema if not pattern else schema["definitions"][record.__name__])["properties"]
    lines = [
        f"## {f'`{pattern}`' if pattern else 'The manifest'}",
        "",
        inspect.cleandoc(record.__doc__ or ""),
        "",
        "| field | holds | meaning | status |",
        "|---|---|---|---|",
    ]
    for name, field in record.model_fields.items():
        required = " (required)" if field.is_required() else ""
        status = _status(join(pattern, name))
        cells = (
            f"`{name}`{required}",
            _holds(properties[name], schema),
            field.description or "",
            status,
        )
        lines.append(_row(cells))
    if record.model_config.get("extra") == "allow":
        lines.append(_row(("any other", "any", "", _status(f"{pattern}.*"))))
    return "\n".join([*lines, ""])


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(" ".join(c.replace("|", "\\|").split()) for c in cells) + " |"


def _status(pattern: str) -> str:
    entry = HONOURED.get(pattern)
    if entry is None:
        return "see below"
    text = f"**{entry.status}**: {entry.detail}"
    return f"{text}; {entry.unless}" if entry.unless else text


def _holds(node: dict[str, Any], schema: dict[str, Any]) -> str:
    """A property's type and bounds in a few words."""
    if "allOf" in node or "$ref" in node:
        return "object"
    for union in ("anyOf", "oneOf"):
        if union in node:
            return " or ".join(_holds(branch, schema) for branch in node[union])
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{json.dumps(node['const'])}`"
    if node.get("type") == "array":
        return f"list of {_holds(node['items'], schema)}"
    words = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false"}
    kind = words.get(node.get("type", ""), str(node.get("type", "any")))
    bounds = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "exclusiveMaximum": "< {}",
    }
    limits = [text.format(node[key]) for key, text in bounds.items() if key in node]
    return f"{kind} {', '.join(limits)}".strip().replace(".0", "")
