"""A few rows and cases to start an expert with: enough to run every step once."""

# ruff: noqa: S608 - SQL of our own words, to learn from; it is run in tests alone

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

Task = Literal["json", "sql", "cypher"]
TASKS: tuple[Task, ...] = get_args(Task)

_PEOPLE = ("Anna Berg", "Ben Ito", "Carla Ruiz", "David Kim", "Elena Novak", "Felix Moore",
           "Grace Lane", "Hugo Silva", "Irene Weber", "Jack Stone")  # fmt: skip
_TABLES = (
    ("books", "title", "pages"), ("songs", "name", "duration"), ("cars", "model", "price"),
    ("rivers", "name", "length"), ("players", "name", "goals"), ("hotels", "name", "stars"),
    ("cheeses", "label", "weight"), ("bridges", "name", "height"), ("recipes", "title", "minutes"),
    ("phones", "model", "weight"),
)  # fmt: skip
HELD_OUT = 2
"""The last so many people or tables are for the cases."""

PERSON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class StarterRow:
    """One question with its answer. ``fixture`` is an SQLite script, for SQL alone."""

    input: str
    instruction: str
    response: str
    group: str
    category: str
    fixture: str = ""


def starter_rows(task: Task) -> tuple[list[StarterRow], list[StarterRow]]:
    """Rows to train on, and rows of other groups for the test cases."""
    made = {"json": _json, "sql": _sql, "cypher": _cypher}[task]
    groups = [list(made(at)) for at in range(len(_PEOPLE))]
    train, held_out = groups[:-HELD_OUT], groups[-HELD_OUT:]
    return [row for group in train for row in group], [row for group in held_out for row in group]


def starter_cases(task: Task) -> dict[str, Any]:
    """A document for ``tests/test_cases.json`` of the held-out rows."""
    _, rows = starter_rows(task)
    metric = {"json": "json_schema", "sql": "sql_execution", "cypher": "cypher_structure"}[task]
    document: dict[str, Any] = {"format": 1, "metric": metric}
    if task == "sql":
        document["fixtures"] = {row.group: row.fixture for row in rows}
    cases = []
    for number, row in enumerate(rows, start=1):
        messages = [("system", row.input), ("user", row.instruction)]
        case: dict[str, Any] = {
            "id": f"{row.group.replace(' ', '-').lower()}-{number}",
            "category": row.category,
            "messages": [{"role": role, "content": text} for role, text in messages],
            "expected": row.response,
        }
        if task == "sql":
            case["fixture"] = row.group
        if task == "json":
            case["schema"] = PERSON_SCHEMA
        cases.append(case)
    return document | {"cases": cases}


def _json(at: int) -> Iterator[StarterRow]:
    name, age, compact = _PEOPLE[at], 21 + 7 * at, (",", ":")
    system = f"Dialect: json\nSchema:\n{json.dumps(PERSON_SCHEMA, separators=compact)}"
    for category, text, known in (
        ("plain", f"{name} is {age} years old.", True),
        ("plain", f"Name: {name}, age {age}", True),
        ("plain", f"Our guest {name} turned {age} last week.", True),
        ("hard/silent", f"{name} wrote to us again.", False),
        ("hard/order", f"At {age}, nobody is as lively as {name}.", True),
    ):
        answer = {"name": name} | ({"age": age} if known else {})
        text_of_answer = json.dumps(answer, separators=compact)
        yield StarterRow(system, text, text_of_answer, name, category)


def _sql(at: int) -> Iterator[StarterRow]:
    table, label, number = _TABLES[at]
    rows = ",".join(f"({n},'{table} {n}',{n * 37 % 101})" for n in range(1, 13))
    fixture = (
        f"CREATE TABLE {table} (id INTEGER, {label} TEXT, {number} INTEGER);\n"
        f"INSERT INTO {table} VALUES {rows};"
    )
    system = f"Dialect: sql\nSchema:\n{table}(id, {label}, {number})"
    limit = 30 + 3 * at
    for category, question, query in (
        ("plain", f"How many {table} are there?", f"SELECT COUNT(*) FROM {table};"),
        ("plain", f"Show the {label} of all {table}", f"SELECT {table}.{label} FROM {table};"),
        (
            "plain",
            f"{table} with {number} above {limit}",
            f"SELECT * FROM {table} WHERE {table}.{number} > {limit};",
        ),
        (
            "hard/top",
            f"Which of the {table} has the highest {number}?",
            f"SELECT {table}.{label} FROM {table} ORDER BY {table}.{number} DESC LIMIT 1;",
        ),
        ("plain", f"Average {number} of {table}", f"SELECT AVG({table}.{number}) FROM {table};"),
    ):
        yield StarterRow(system, question, query, table, category, fixture)


def _cypher(at: int) -> Iterator[StarterRow]:
    table, label, number = _TABLES[at]
    variable = table.removesuffix("s")
    node = variable.capitalize()
    system = (
        f"Dialect: cypher\nSchema:\n(:Person {{name}})-[:LIKES]->(:{node} {{{label}, {number}}})"
    )
    match, limit, fan = f"MATCH ({variable}:{node})", 30 + 3 * at, _PEOPLE[at]
    liked = f"MATCH (person:Person)-[:LIKES]->({variable}:{node})"
    for category, question, query in (
        ("plain", f"How many {table} are there?", f"{match} RETURN count({variable})"),
        ("plain", f"Show the {label} of all {table}", f"{match} RETURN {variable}.{label}"),
        (
            "plain",
            f"{table} with {number} above {limit}",
            f"{match} WHERE {variable}.{number} > {limit} RETURN {variable}",
        ),
        (
            "hard/hop",
            f"Which {table} does {fan} like?",
            f"{liked} WHERE person.name = '{fan}' RETURN {variable}.{label}",
        ),
        (
            "hard/without",
            f"People who like none of the {table}",
            f"MATCH (person:Person) WHERE NOT (person)-[:LIKES]->(:{node}) RETURN person.name",
        ),
    ):
        yield StarterRow(system, question, query, table, category)
