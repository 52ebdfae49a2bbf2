"""What training rows are made of, and the mixes that leave one thing out to show what it brings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from text_to_sql.schema import Schema


@dataclass(frozen=True)
class Mix:
    """How rows are drawn. The shipped data is the one without arguments.

    ``joins`` is the weight of joins in a hundred, where a schema has tables to join; what it has
    less than usual, questions about one table have more. With ``one_wording`` each pattern says
    what it says in one way. With ``bare_columns`` answers name a column without its table where
    that is clear.
    """

    joins: int = 36
    one_wording: bool = False
    bare_columns: bool = False


USUAL = Mix()

MIXES: Mapping[str, Mix] = MappingProxyType(
    {
        "usual": USUAL,
        "few-joins": Mix(joins=6),
        "one-wording": Mix(one_wording=True),
        "bare-columns": Mix(bare_columns=True),
    }
)
"""By name; each differs from the usual one in one thing."""

_TEXT_OR_COLUMN = re.compile(r"'(?:[^']|'')*'|\b(\w+)\.(\w+)\b")


def with_bare_columns(sql: str, schema: Schema) -> str:
    """The query without the names of tables before columns that no other of its tables has.

    Law: it has the same rows as ``sql``.
    """
    asked = [t for t in schema.tables if re.search(rf"\b(?:FROM|JOIN) {t.name}\b", sql)]

    def bare(match: re.Match[str]) -> str:
        name = match[2]
        owners = [t for t in asked if any(c.name == name for c in t.columns)]
        return name if match[1] and len(owners) == 1 else match[0]

    return _TEXT_OR_COLUMN.sub(bare, sql)
