"""The data of expert-sql: its rows, schemas and databases."""

from __future__ import annotations

import itertools
import os
import random
import re
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp
from text_to_sql import english
from text_to_sql.corpus import HELD_OUT, TEST, TRAIN, VALIDATION
from text_to_sql.database import Database
from text_to_sql.dataset import train_examples, validation_examples
from text_to_sql.examples import FAMILIES, ask, draw_for
from text_to_sql.schema import parse_column, parse_schemas

from hive_expert.training.generated import Example
from tests.experts.sql_rows import EXPERT, SAMPLE, train_sample

TABLE = re.compile(r"(\w+) ?\((?:[^()]|\(id\))*\)")


def schema_tables(example: Example) -> list[str]:
    """The tables of the example's schema, as CREATE TABLE statements."""
    text = example.input or example.instruction.partition("Schema:")[2]
    found = [m[0].rstrip(";") for m in TABLE.finditer(text)]
    return [f"CREATE TABLE {table}" for table in found]


def generate(output: Path, seed: int, hash_seed: str) -> dict[str, bytes]:
    command = [sys.executable, str(EXPERT / "generate.py"), f"--seed={seed}", "--train=200"]
    command += ["--validation=30", "--test=40", f"--output={output}"]
    command += [f"--test-cases={output / 'cases.json'}"]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return {path.name: path.read_bytes() for path in output.iterdir()}


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    first = generate(tmp_path / "first", seed=3, hash_seed="1")
    assert set(first) == {"train.jsonl", "validation.jsonl", "test.jsonl", "cases.json"}
    assert generate(tmp_path / "second", seed=3, hash_seed="2") == first


def test_another_seed_writes_other_examples() -> None:
    assert train_examples(1, 20) != train_examples(2, 20)


def test_asking_for_more_rows_keeps_the_first_ones() -> None:
    assert train_examples(7, 100) == list(train_sample()[:100])


def test_there_are_enough_schemas_in_every_split() -> None:
    assert len(TRAIN) >= 46
    assert len(VALIDATION) >= 4
    assert len(TEST) >= 12


def test_no_training_schema_has_a_held_out_table() -> None:
    held_out = {english.singular(english.spoken(name)) for name in HELD_OUT}
    for example in train_sample():
        for statement in schema_tables(example):
            table = statement.split()[2].partition("(")[0]
            words = re.sub(r"([A-Z])", r" \1", table).replace("_", " ").lower()
            assert english.singular(words) not in held_out, example


def test_schemas_of_a_split_do_not_share_table_names_with_another() -> None:
    names = [{t.name for s in split.values() for t in s.tables} for split in (TRAIN, VALIDATION)]
    names.append({t.name for s in TEST.values() for t in s.tables})
    assert sum(map(len, names)) == len(set.union(*names))


def test_every_training_answer_runs_on_the_schema_that_its_prompt_shows() -> None:
    for example in train_sample():
        connection = sqlite3.connect(":memory:")
        connection.executescript(";".join(schema_tables(example)))
        connection.execute(example.response)
        connection.close()


def test_every_column_in_an_answer_names_its_table() -> None:
    for example in train_sample()[:300]:
        tree = sqlglot.parse_one(example.response, dialect="sqlite")
        assert all(column.table for column in tree.find_all(exp.Column)), example.response


def test_answers_are_one_statement_and_end_in_a_semicolon() -> None:
    for example in train_sample():
        assert example.response.startswith("SELECT ")
        assert example.response.endswith(";")
        assert example.response.count(";") == 1
        assert "\n" not in example.response


def test_rows_of_a_group_share_their_system_message_and_stand_together() -> None:
    systems = defaultdict(set)
    for example in train_sample():
        systems[example.group].add(example.input)
    assert all(len(inputs) == 1 for inputs in systems.values())
    shared = [e.group for e in train_sample() if e.input]
    changes = sum(a != b for a, b in itertools.pairwise(shared))
    assert changes == len(set(shared)) - 1
    assert 4 <= len(shared) / len(set(shared)) <= 8


def test_no_question_is_asked_twice_of_one_schema() -> None:
    asked = Counter((e.input, e.instruction.lower()) for e in train_sample())
    assert asked.most_common(1)[0][1] == 1


@pytest.mark.parametrize(
    ("family", "least", "most"),
    [("single", 44, 54), ("aggregate", 12, 18), ("join", 23, 31), ("subquery", 7, 13)],
)
def test_families_have_their_share_of_the_training_data(family: str, least: int, most: int) -> None:
    count = sum(e.category.startswith(f"{family}/") for e in train_sample())
    assert least <= 100 * count / SAMPLE <= most


def test_every_pattern_is_used() -> None:
    assert sum(map(len, FAMILIES.values())) >= 40
    draws = [draw_for(schema, random.Random(name)) for name, schema in TRAIN.items()]
    for family, patterns in FAMILIES.items():
        asked = [ask(draw, family) for draw in draws for _ in range(3)]
        assert len({q.category for q in asked if q}) >= 4, family
        assert all(weight > 0 for _, weight in patterns)


@pytest.mark.parametrize(
    ("form", "least", "most"),
    [
        (r"^Dialect: sql\nSchema:\n\w+\(\w+, ", 55, 85),
        (r"^Dialect: (sqlite|postgres|mysql)\n", 10, 26),
        (r"\n\w+\(id INTEGER, ", 3, 14),
        (r"\nCREATE TABLE \w+ \(", 1, 9),
        (r"^$", 5, 11),
    ],
)
def test_schemas_come_in_every_form(form: str, least: int, most: int) -> None:
    count = sum(bool(re.search(form, e.input)) for e in train_sample())
    assert least <= 100 * count / SAMPLE <= most


def test_a_question_without_system_message_carries_its_schema() -> None:
    alone = [e for e in train_sample() if not e.input]
    assert all("Schema:" in e.instruction and schema_tables(e) for e in alone)


def test_yes_and_no_are_not_asked_in_dialects_that_write_them_otherwise() -> None:
    for example in train_sample():
        if re.match("Dialect: (postgres|mysql)", example.input):
            assert not re.search(r"\bis_(active|paid|done|capital|vegan)\b", example.input)


def test_validation_asks_on_the_validation_schemas_alone() -> None:
    known = {t.name for s in VALIDATION.values() for t in s.tables}
    for example in validation_examples(7, 60):
        tables = {s.split()[2].partition("(")[0] for s in schema_tables(example)}
        assert tables and tables <= known


def test_asking_what_a_schema_cannot_answer_ends() -> None:
    schema = parse_schemas("alone\nstones: id, name'thing, weight#1-90")["alone"]
    assert ask(draw_for(schema, random.Random(1)), "join") is None


def test_a_database_fills_its_schema_as_its_law_says() -> None:
    schema = TRAIN["movies"]
    database = Database(schema, random.Random(5))
    for table in schema.tables:
        rows = database.rows[table.name]
        assert 14 <= len(rows) <= 22
        if table.label:
            assert len(set(database.column(table, table.label))) == len(rows)
    for link in schema.links:
        used = set(database.column(link.child, link.key))
        parents = set(database.column(link.parent, link.parent.columns[0]))
        assert used < parents


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("books", "book"),
        ("categories", "category"),
        ("matches", "match"),
        ("order items", "order item"),
        ("movies", "movie"),
        ("boxes", "box"),
        ("warehouses", "warehouse"),
    ],
)
def test_nouns_change_their_number(many: str, one: str) -> None:
    assert english.singular(many) == one
    assert english.plural(one) == many


@pytest.mark.parametrize(
    ("column", "verb"),
    [("release_year", "released"), ("hired_on", "hired"), ("year_released", "released"),
     ("pages", ""), ("check_in", "")],
)  # fmt: skip
def test_date_columns_say_what_happened(column: str, verb: str) -> None:
    assert english.participle(column) == verb


def test_a_broken_column_of_a_schema_file_is_named() -> None:
    with pytest.raises(ValueError, match="not a column: 'price 5'"):
        parse_column("price 5")
