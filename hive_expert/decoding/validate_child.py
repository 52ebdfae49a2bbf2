"""The child that checks answers: `python -m hive_expert.decoding.validate_child`."""

from __future__ import annotations

import logging
from typing import Any

from hive_expert.decoding.child_program import Job, serve
from hive_expert.decoding.validators import Check, validate


def prepare(greeting: dict[str, Any]) -> Job:
    """Nothing to get ready but the parsers."""
    import jsonschema  # noqa: F401 - imported now rather than under the first job's limit
    import sqlglot  # noqa: F401
    import tree_sitter_typescript  # noqa: F401

    logging.disable(logging.CRITICAL)  # sqlglot logs what it makes of odd statements
    return _check


def _check(message: dict[str, Any]) -> dict[str, Any]:
    check = Check(message["kind"], message["dialect"], message["json_schema"])
    return {"reason": validate(check, message["answer"])}


if __name__ == "__main__":
    serve(prepare)
