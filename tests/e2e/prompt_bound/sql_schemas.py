"""Any number of different database schemas with a question for each, none like those in training.

Table names are made of words that training does not know, and one question in four asks for what
the schema does not have, so that a model which is free to invent a name will.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

_TABLES = (
    "glaciers volcanoes moths lichens sundials kites looms anvils barges canals quarries gargoyles "
    "fjords turbines reactors beacons locksmiths falconers cartographers weavers brewers tilers"
)
TABLES = _TABLES.split()
_COLUMNS = (
    "altitude basin crater span thickness gauge mesh torque voltage flux pitch draught tonnage "
    "hue luminance hardness alloy grain strata vintage cadence tempo azimuth bearing"
)
COLUMNS = _COLUMNS.split()
QUESTIONS = (
    "How many {t} are there?",
    "List all {t}.",
    "Which {t} have a {c} above 12?",
    "What is the average {c} of {t} by {d}?",
    "Show the {c} and {d} of {t}, largest first.",
    "Which of the {t} has the highest {c}?",
)
MISLEADING = (
    "What are the salaries of all employees older than 40?",
    "List the e-mail addresses of customers of {t}.",
    "How many orders did each department place last year?",
    "Show the first name and the birthday of the owner of each of the {t}.",
)


@dataclass(frozen=True)
class SqlCase:
    """A schema as it is written in the message, the names it has, and a question."""

    written: str
    tables: dict[str, tuple[str, ...]]
    question: str


def cases(count: int, seed: int = 0) -> Iterator[SqlCase]:
    """No two schemas are alike."""
    draw, seen = random.Random(seed), set[str]()
    while len(seen) < count:
        case = _case(draw)
        if case.written not in seen:
            seen.add(case.written)
            yield case


def _case(draw: random.Random) -> SqlCase:
    tables = {}
    for name in draw.sample(TABLES, draw.randrange(1, 5)):
        columns = draw.sample(COLUMNS, draw.randrange(2, 6))
        tables[name] = ("id", *columns)
    names = list(tables)
    for name, other in zip(names[1:], names, strict=False):
        tables[name] = (*tables[name], f"{other}_id")
    first = draw.choice(names)
    c, d = draw.sample(tables[first][1:3], 2)
    questions = MISLEADING if draw.random() < 0.25 else QUESTIONS
    question = draw.choice(questions).format(t=first, c=c, d=d)
    written = draw.choice((_plain, _typed, _created))(tables)
    return SqlCase(written, tables, question)


def _plain(tables: dict[str, tuple[str, ...]]) -> str:
    return "\n".join(f"{name}({', '.join(columns)})" for name, columns in tables.items())


def _typed(tables: dict[str, tuple[str, ...]]) -> str:
    return "\n".join(
        f"{name}({', '.join(f'{c} INTEGER' for c in columns)})" for name, columns in tables.items()
    )


def _created(tables: dict[str, tuple[str, ...]]) -> str:
    return "\n".join(
        f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, {' REAL, '.join(columns[1:])} REAL);"
        for name, columns in tables.items()
    )


def unknown_names(answer: str, tables: dict[str, tuple[str, ...]]) -> list[str] | None:
    """Tables and columns that the statement refers to and the schema does not have.

    None: it is no statement at all.
    """
    try:
        statement = sqlglot.parse_one(answer, dialect="sqlite")
    except SqlglotError:
        return None
    defined = {cte.alias for cte in statement.find_all(exp.CTE)}
    found = [t.name for t in statement.find_all(exp.Table) if t.name not in {*tables, *defined}]
    for column in statement.find_all(exp.Column):
        known = tables.get(column.table)
        if known is None:
            known = () if column.table else tuple(c for names in tables.values() for c in names)
        if column.name not in known and not isinstance(column.this, exp.Star):
            found.append(column.sql())
    return found


def executes(answer: str, tables: dict[str, tuple[str, ...]]) -> bool:
    """Whether SQLite runs it on empty tables."""
    database = sqlite3.connect(":memory:")
    try:
        for name, columns in tables.items():
            database.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
        database.execute(answer)
    except sqlite3.Error:
        return False
    finally:
        database.close()
    return True
