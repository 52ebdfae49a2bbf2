"""Schemas as people write them give their names; what is not understood gives nothing."""

from __future__ import annotations

import time

import pytest

from hive_expert.decoding import extract_sql
from hive_expert.decoding.extract_sql import tables_in

USERS = {"users": ["id", "name", "age"]}


@pytest.mark.parametrize(
    "text",
    [
        "users(id, name, age)",
        "users (id, name, age)",
        "  users(id INTEGER, name TEXT, age INTEGER)\n",
        "users(id INTEGER PRIMARY KEY, name VARCHAR(80) DEFAULT 'a, b (c)', age DECIMAL(3, 0))",
        "users(id, name, age)\n\nFind all users older than 25.",
        "users(id, name, age)\nHow many are there (in all)?",
        "CREATE TABLE users (id INT, name TEXT, age INT, PRIMARY KEY (id));",
        "create table if not exists users (\n  id int,\n  name text,\n  age int,\n"
        "  UNIQUE (name),\n  FOREIGN KEY (age) REFERENCES ages(age),\n  CHECK (age > 0)\n);",
    ],
)
def test_one_table_in_every_form(text: str) -> None:
    assert tables_in(text) == USERS


@pytest.mark.parametrize("between", ["\n", ", ", "; ", ";\n", "\n\n", ",\n  "])
def test_tables_stand_one_after_another(between: str) -> None:
    text = between.join(["users(id, name, age)", "orders(id, user_id)"])
    assert tables_in(text) == {**USERS, "orders": ["id", "user_id"]}


def test_names_are_spelled_as_a_statement_needs_them() -> None:
    text = '"order items"("unit price", `total`, [id]), public.users(größe)'
    assert tables_in(text) == {
        '"order items"': ['"unit price"', "total", "id"],
        "public.users": ['"größe"'],
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The tables are users and orders.",
        "users(id, name",
        "users(id, 3)",
        "users(id)\n-- a comment\norders(id)",
        "users(id)\nand also:\norders(id)",
        "users(id)\nsome words CREATE TABLE orders (id INT)",
        "users(id, , name)",
    ],
)
def test_what_is_not_understood_to_its_end_gives_nothing(text: str) -> None:
    assert tables_in(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        "users(" * 20_000,
        "users(" + "a, " * 40_000 + "b)",
        "a" * 120_000,
        "users(" + "'" * 100_000,
        "CREATE " + " " * 100_000 + "TABLE",
        "users(id)" + "\n" * 100_000,
        "users(id)\n" + "x " * 50_000,
        ("t(" + "(" * 50 + ")" * 50 + ")") * 1000,
        "[" * 100_000,
        "users(id)" + "\t" * 100_000 + "!",
    ],
    ids=range(10),
)
def test_hostile_texts_are_read_in_linear_time(text: str) -> None:
    started = time.process_time()
    tables_in(text)
    assert time.process_time() - started < 1


def test_a_text_that_begins_with_no_table_is_read_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extract_sql, "_ANOTHER", None)
    assert tables_in("? " * 1000 + "\nusers(id)") == {}
