from __future__ import annotations

import numpy as np
import pytest

from hive_expert.router.cues import GENERAL_QUESTION, NAMES, cues_of, declared_dialect
from hive_expert.router.turns import request_of


def shown(text: str, system: str = "") -> set[str]:
    values = cues_of(request_of(text, system))
    assert values.shape == (len(NAMES),)
    return {name for name, value in zip(NAMES, values, strict=True) if value}


@pytest.mark.parametrize(
    ("text", "cue"),
    [
        ("users(id, name, age)", "table with columns"),
        ("CREATE TABLE users (id INT)", "create table"),
        ("(:Person {name})", "node pattern"),
        ("(a)-[:KNOWS]->(b)", "relationship pattern"),
        ('{"type": "object"}', "json schema"),
        ('{"name": 1}', "json value"),
        ("fields {name, age}", "names in braces"),
        ("f(x: string): number", "type annotation"),
        ("interface User { }", "code declaration"),
        ("SELECT a FROM b", "sql statement"),
        ("MATCH (n) RETURN n", "cypher statement"),
        ("```x```", "code block"),
        ("Parse: one two three four five six seven", "text after colon"),
        ('about "a rather long quotation here"', "quoted text"),
        ("older than 25", "numbers"),
        ("who is it?", "question mark"),
        ("谁\uff1f", "question mark"),
        ("the manager_id", "snake case"),
        ("by WORKS_WITH", "capital name"),
        ("GROUP BY month", "capital SQL"),
        ("MATCH siblings", "capital Cypher"),
        ("groupBy", "camel case"),
        ("用SQL写", "says sql"),
        ("use MySQL", "says sql"),
        ("as a JSON object", "says json"),
        ("in Neo4j", "says cypher"),
        ("the shortest path", "says graph"),
        ("in TypeScript", "says typescript"),
        ("in c++ please", "other language"),
        ("a yaml file", "other format"),
        ("write a haiku", "prose"),
        ("Hello there", "greets"),
        ("How many are there", "asks for data"),
        ("Please implement it", "asks to make"),
        ("extract the name", "asks to turn"),
        ("delete the row", "changes data"),
        ("an error at start", "runs or debugs"),
        ("ok", "short"),
        ("x " * 130, "long"),
        ("où", "not ASCII"),
    ],
)
def test_each_cue_is_seen(text: str, cue: str) -> None:
    assert cue in shown(text)


@pytest.mark.parametrize(
    ("text", "cue"),
    [
        ("mysql and postgres", "says json"),
        ("an object of art", "says typescript"),
        ("in csharp", "other language"),
        ("timetable", "says table"),
        ("say hi", "greets"),
    ],
)
def test_a_cue_is_not_seen_where_it_is_not(text: str, cue: str) -> None:
    assert cue not in shown(text)


def test_a_question_is_general_only_with_nothing_to_work_on() -> None:
    assert GENERAL_QUESTION in shown("What is a table?")
    assert GENERAL_QUESTION not in shown("What is the age in users(id, name, age)?")


def test_what_the_system_message_carries_is_told_apart() -> None:
    assert "system: table with columns" in shown("who", "users(id, name, age)")
    assert "system: table with columns" not in shown("who in users(id, name, age)")


@pytest.mark.parametrize(
    ("text", "system", "dialect"),
    [
        ("x", "Dialect: sql\nSchema: …", "sql"),
        ("x", "  dialect : Postgres", "postgres"),
        ("Dialect: cypher\nwho?", "", "cypher"),
        ("Dialect: cypher", "Dialect: sql", "sql"),
        ("which dialect: sql or not", "", None),
    ],
)
def test_declared_dialect(text: str, system: str, dialect: str | None) -> None:
    assert declared_dialect(request_of(text, system)) == dialect


def test_values_are_zero_or_one() -> None:
    assert set(np.unique(cues_of(request_of("Write SQL: users(id, name)")))) == {0, 1}


def test_a_column_name_is_not_its_words() -> None:
    assert "says table" not in shown("a table_name")


@pytest.mark.parametrize(
    ("text", "without", "cue"),
    [
        ("a C++ template", "a C template", "other language"),
        ("C# record", "C record", "other language"),
        ("e-mail to Ann", "mail to Ann", "prose"),
    ],
)
def test_signs_belong_to_their_words(text: str, without: str, cue: str) -> None:
    assert cue in shown(text)
    assert cue not in shown(without)
