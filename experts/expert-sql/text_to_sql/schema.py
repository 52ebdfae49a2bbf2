"""Schemas as values, and the one-line notation they are written in.

A schema is written one table a line: ``books: id, title'title, author_id>authors, pages#80-900``.
After a column's name stands its kind:

==================  ==========================================================
``'pool``           label, unique in the table (`values.toml`), or ``'a|b|c``
``{a|b|c}``         one of a few texts, or ``{pool}`` (`values.toml`)
``#low-high``       integer
``$low-high``       amount with decimals
``@low-high``       year
``^low-high``       date between two years
``?``               yes or no, stored as 1 or 0
``>table``          foreign key to that table's ``id``
==================  ==========================================================

A final ``~`` allows NULL. A phrase in double quotes after the name says how people call it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from text_to_sql import english, resources

KINDS = {
    "'": "label",
    "{": "choice",
    "#": "int",
    "$": "real",
    "@": "year",
    "^": "date",
    "?": "bool",
    ">": "fk",
    "": "id",
}
SQL_TYPES = {"int": "INTEGER", "year": "INTEGER", "bool": "INTEGER", "fk": "INTEGER"} | {
    "id": "INTEGER",
    "real": "REAL",
    "date": "DATE",
    "label": "TEXT",
    "choice": "TEXT",
}
_VALUES = resources.toml("values.toml")
_COLUMN = re.compile(r'^(\w+)(?:"([^"]+)")?(?:([\'{#$@^?>])(.*?))?(~?)$')


@dataclass(frozen=True)
class Column:
    """A column: its name in SQL, how people call it, and what values it holds."""

    name: str
    kind: str
    phrase: str
    low: int = 0
    high: int = 0
    values: tuple[str, ...] = ()
    target: str = ""
    nullable: bool = False

    @property
    def is_number(self) -> bool:
        return self.kind in ("int", "real")

    @property
    def sql_type(self) -> str:
        return SQL_TYPES[self.kind]


@dataclass(frozen=True)
class Table:
    """A table: its name in SQL, its columns, and the noun for one and for several rows."""

    name: str
    columns: tuple[Column, ...]
    singular: str
    plural: str

    def of_kind(self, *kinds: str) -> list[Column]:
        return [c for c in self.columns if c.kind in kinds]

    @cached_property
    def label(self) -> Column | None:
        """The column that names a row, such as ``title``; None for pure link tables."""
        return next(iter(self.of_kind("label")), None)

    @property
    def is_person(self) -> bool:
        return self.singular.split()[-1] in english.PEOPLE


@dataclass(frozen=True)
class Link:
    """A foreign key: each row of `child` points to one row of `parent` through `key`."""

    child: Table
    key: Column
    parent: Table

    @property
    def condition(self) -> str:
        return f"{self.child.name}.{self.key.name} = {self.parent.name}.id"


@dataclass(frozen=True)
class Schema:
    """Tables whose foreign keys all point to a table of the same schema, by a unique name."""

    name: str
    tables: tuple[Table, ...]

    def table(self, name: str) -> Table:
        return next(t for t in self.tables if t.name == name)

    @cached_property
    def links(self) -> tuple[Link, ...]:
        return tuple(
            Link(child, key, self.table(key.target))
            for child in self.tables
            for key in child.of_kind("fk")
        )


def parse_schemas(text: str) -> dict[str, Schema]:
    """Read schemas separated by blank lines: a line with the name, then a line per table."""
    schemas = {}
    for block in text.strip().split("\n\n"):
        name, *lines = block.strip().splitlines()
        schemas[name.strip()] = Schema(name.strip(), tuple(parse_table(line) for line in lines))
    return schemas


def parse_table(line: str) -> Table:
    head, _, body = line.partition(":")
    name, _, singular = head.strip().partition("/")
    plural = english.spoken(name)
    columns = tuple(parse_column(part.strip()) for part in body.split(","))
    return Table(name, columns, singular or english.singular(plural), plural)


def parse_column(text: str) -> Column:
    match = _COLUMN.match(text)
    if match is None:
        raise ValueError(f"not a column: {text!r}")
    name, phrase, mark, rest, null = match.groups()
    kind = KINDS[mark or ""]
    values: tuple[str, ...] = ()
    low = high = 0
    if kind in ("int", "real", "year", "date"):
        low, high = (int(n) for n in rest.split("-"))
    elif kind in ("label", "choice"):
        given = rest.rstrip("}")
        pools = _VALUES["labels" if kind == "label" else "choices"]
        values = tuple(given.split("|") if "|" in given else pools[given])
    default = english.spoken(re.sub(r"_id$", "", name) if kind == "fk" else name)
    target = rest if kind == "fk" else ""
    return Column(name, kind, phrase or default, low, high, values, target, bool(null))
