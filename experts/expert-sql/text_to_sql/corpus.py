"""The hand-written schemas, by split. No table of one split has the name of another's."""

from __future__ import annotations

from text_to_sql import resources
from text_to_sql.schema import Schema, parse_schemas

TRAIN: dict[str, Schema] = parse_schemas(resources.text("schemas-train.txt"))
VALIDATION: dict[str, Schema] = parse_schemas(resources.text("schemas-validation.txt"))
TEST: dict[str, Schema] = parse_schemas(resources.text("schemas-test.txt"))

HELD_OUT = frozenset(t.name for s in (*TEST.values(), *VALIDATION.values()) for t in s.tables)
"""Table names that no training schema may have."""
