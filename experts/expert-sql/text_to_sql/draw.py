"""What a pattern draws from: one schema, its rows, and a seeded source of chance and phrasing."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from text_to_sql import english
from text_to_sql.database import Database
from text_to_sql.schema import Column, Link, Table
from text_to_sql.sql import Value

T = TypeVar("T")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_MARKS = {
    # asks for columns
    "SHOW": "[Show|Show me|List|Give me|Find|Get|Display|Return|Tell me|Please list|Please show"
    "|Fetch|Retrieve|I need|I want to see|Can you list|Could you show me|Select|Print"
    "|I'd like to see]",
    # asks for whole rows
    "LIST": "[Show|Show me|List|Give me|Find|Get|Display|Return|Please list|Retrieve"
    "|Can you find|Select]",
}


class Unsuitable(Exception):  # noqa: N818 - a verdict that is caught, not an error
    """The pattern finds nothing to ask in this schema, or found an answer that tells nothing."""


@dataclass(frozen=True)
class Question:
    """A question, the query that answers it, and its category.

    `ties` is a query whose rows must differ, or the question has more than one right answer.
    """

    text: str
    query: str
    category: str
    ties: str = ""

    @property
    def sql(self) -> str:
        """The answer as it is given."""
        return f"{self.query};"


@dataclass
class Draw:
    """A filled database of a schema; every choice comes from `rng`. `used` is what was asked.

    With `one_wording` there is one way to say a thing.
    """

    database: Database
    rng: random.Random
    used: set[str] = field(default_factory=set)
    one_wording: bool = False

    def __post_init__(self) -> None:
        self.schema = self.database.schema

    def pick(self, items: Sequence[T]) -> T:
        if not items:
            raise Unsuitable
        return self.rng.choice(items)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def some(self, items: Sequence[T], number: int) -> list[T]:
        if len(items) < number:
            raise Unsuitable
        return self.rng.sample(items, number)

    def say(self, *templates: str, **slots: str) -> str:
        """One of the templates, with one of each ``[a|b|c]`` in it, and its ``{slots}`` filled.

        ``SHOW`` stands for a way to ask for columns, ``LIST`` for one to ask for whole rows.
        """
        text = either(*templates)
        for mark, template in _MARKS.items():
            text = text.replace(mark, template)
        while match := _CHOICE.search(text):
            ways = match[1].split("|")
            chosen = ways[0] if self.one_wording else self.rng.choice(ways)
            text = text[: match.start()] + chosen + text[match.end() :]
        return " ".join(text.format(**slots).split()).replace(" ?", "?").replace(" ,", ",")

    def table(self, labelled: bool = False) -> Table:
        return self.pick([t for t in self.schema.tables if t.label or not labelled])

    def link(self, labelled: bool = False) -> Link:
        """A foreign key whose parent has a label, and on demand the child too."""
        return self.pick(
            [k for k in self.schema.links if k.parent.label and (k.child.label or not labelled)]
        )

    def shown(self, table: Table, number: int = 1) -> list[Column]:
        """Columns worth showing: the label first more often than not."""
        chosen = self.some(telling(table), number)
        if table.label and table.label not in chosen and self.chance(0.45):
            chosen[0] = table.label
        return chosen

    def attribute(self, table: Table) -> Column:
        """The label in every other case, or any column that tells something."""
        if table.label and self.chance(0.5):
            return table.label
        return self.pick(telling(table))

    def number(self, table: Table) -> Column:
        return self.pick(table.of_kind("int", "real"))

    def value(self, table: Table, column: Column) -> Value:
        return self.pick([v for v in self.database.column(table, column) if v is not None])

    def name_of(self, table: Table) -> str:
        """The label of one row."""
        return str(self.value(table, label(table)))

    def quoted(self, text: str) -> str:
        """A value as people write it: mostly bare, now and then in quotes."""
        roll = self.rng.random()
        return f"'{text}'" if roll < 0.1 else f'"{text}"' if roll < 0.16 else text


def either(*templates: str) -> str:
    """A template that is one of these."""
    return f"[{'|'.join(templates)}]" if len(templates) > 1 else templates[0]


def telling(table: Table) -> list[Column]:
    """Columns that say something of a row to people."""
    return [c for c in table.columns if c.kind not in ("id", "fk", "bool")]


def phrases(columns: Sequence[Column], many: bool = False) -> str:
    """*name, price and weight*, or *names, prices and weights*."""
    *head, last = [english.plural(c.phrase) if many else c.phrase for c in columns]
    return f"{', '.join(head)} and {last}" if head else last


def label(table: Table) -> Column:
    if table.label is None:
        raise Unsuitable
    return table.label


def their(table: Table) -> str:
    return "their" if table.is_person else "its"


def be(columns: Sequence[Column], many: bool) -> str:
    return "are" if many or len(columns) > 1 else "is"
