"""The manifest's JSON Schema and its reference, generated from the models.

    python -m hive_expert.manifest.schema --write

writes `schemas/expert-manifest.schema.json` and `schemas/README.md`; tests hold both equal to
what is generated here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from hive_expert.manifest.model import Manifest

SCHEMA_FILE = "expert-manifest.schema.json"
README_FILE = "README.md"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"

_DEFINITIONS = "#/definitions/"


def manifest_schema() -> dict[str, Any]:
    """JSON Schema, Draft 7, of manifests of version 2.0.

    It says what can be said of one field at a time; what fields say together, and what no JSON
    reader shows (duplicate keys), is checked by :func:`~hive_expert.manifest.parse.parse_manifest`.
    """
    generated = Manifest.model_json_schema(ref_template=_DEFINITIONS + "{model}")
    definitions = {
        name: _as_draft_7(definition) for name, definition in sorted(generated.pop("$defs").items())
    }
    # `rank` is another name of `r`; pydantic's schema shows an alias only in place of the name.
    adapter = definitions["Adapter"]["properties"]
    adapter["rank"] = {**adapter["r"], "description": "The same as `r`; give one of the two."}
    return {
        "$schema": DRAFT_7,
        "title": "hive-expert manifest 2.0",
        **_as_draft_7(generated),
        "definitions": definitions,
    }


def schema_text() -> str:
    """The content of `schemas/expert-manifest.schema.json`."""
    return json.dumps(manifest_schema(), indent=2, ensure_ascii=False) + "\n"


def _as_draft_7(node: Any) -> Any:
    """Pydantic writes Draft 2020-12; this is the same schema in Draft 7, without what is noise."""
    if isinstance(node, list):
        return [_as_draft_7(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _as_draft_7(value) for key, value in node.items() if not _is_noise(key, value)}
    for union in ("anyOf", "oneOf"):
        branches = [b for b in out.get(union, []) if b != {"type": "null"}]
        if len(branches) == 1:
            del out[union]
            out = {**branches[0], **out}
        elif branches:
            out[union] = branches
    if "$ref" in out and len(out) > 1:
        out["allOf"] = [{"$ref": out.pop("$ref")}]  # Draft 7 ignores what stands beside $ref
    if out.get("additionalProperties") is False:
        out["patternProperties"] = {"^_": {"description": "A comment: kept and ignored."}}
    if isinstance(out.get("description"), str):
        out["description"] = " ".join(out["description"].split())
    return out


def _is_noise(key: str, value: Any) -> bool:
    return (key == "title" and isinstance(value, str)) or (
        key == "default" and value in (None, [], {})
    )


def main() -> None:
    """Write the two files, or say which differ from what they should be."""
    from hive_expert.manifest.reference import reference_text

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--write", action="store_true", help="write them anew")
    parser.add_argument("--directory", type=Path, default=Path("schemas"))
    arguments = parser.parse_args()
    for name, text in ((SCHEMA_FILE, schema_text()), (README_FILE, reference_text())):
        path = arguments.directory / name
        if arguments.write:
            path.write_text(text, encoding="utf-8")
        same = path.exists() and path.read_text(encoding="utf-8") == text
        print(f"{path}: {'as generated' if same else 'differs; run again with --write'}")


if __name__ == "__main__":
    main()
