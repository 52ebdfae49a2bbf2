"""The data generator, grammar, manifest and test cases of expert-sql."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlglot
import xgrammar
from sqlglot import exp

from hive_expert.decoding.binding import bind
from hive_expert.decoding.contract import contract_of
from hive_expert.decoding.grammar import decode_grammar
from hive_expert.decoding.prompt import messages_of
from hive_expert.manifest.fields import field_status
from hive_expert.manifest.parse import parse_manifest
from hive_expert.training.generated import Example, cases_document

EXPERT = Path(__file__).parents[2] / "experts" / "expert-sql"
sys.path.insert(0, str(EXPERT))

# The expert's own package is found by the path above; it is not part of hive_expert.
from text_to_sql import cases, english  # noqa: E402
from text_to_sql.corpus import HELD_OUT, TEST, TRAIN, VALIDATION  # noqa: E402
from text_to_sql.database import Database  # noqa: E402
from text_to_sql.dataset import train_examples, validation_examples  # noqa: E402
from text_to_sql.examples import FAMILIES, ask, draw_for  # noqa: E402
from text_to_sql.mix import MIXES, USUAL, Mix, with_bare_columns  # noqa: E402
from text_to_sql.schema import parse_column, parse_schemas  # noqa: E402

SAMPLE = 1500
TABLE = re.compile(r"(\w+) ?\((?:[^()]|\(id\))*\)")


@cache
def train_sample() -> tuple[Example, ...]:
    return tuple(train_examples(7, SAMPLE))


@cache
def case_document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((EXPERT / "tests/test_cases.json").read_bytes())
    return document


@cache
def fixture(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(case_document()["fixtures"][name])
    return connection


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


# grammar


@cache
def compiled_grammar() -> xgrammar.CompiledGrammar:
    """The grammar over a vocabulary of single bytes, which spells every text."""
    tokenizer = xgrammar.TokenizerInfo([bytes([i]) for i in range(256)], stop_token_ids=[0])
    text = (EXPERT / "grammar.gbnf").read_text(encoding="utf-8")
    return xgrammar.GrammarCompiler(tokenizer).compile_grammar(xgrammar.Grammar.from_ebnf(text))


def accepts(text: str) -> bool:
    matcher = xgrammar.GrammarMatcher(compiled_grammar(), terminate_without_stop_token=True)
    return bool(matcher.accept_string(text)) and bool(matcher.is_terminated())


def bound_grammars() -> dict[str, list[str]]:
    """The grammars of the test cases, each with the answers expected under it.

    Those by another hand name columns without their tables, as the expert never does.
    """
    decoding = parse_manifest((EXPERT / "manifest.json").read_bytes()).training.decoding  # type: ignore[union-attr]  # it has one
    contract = contract_of(decoding, lambda name: (EXPERT / name).read_bytes())
    assert contract.binding is not None
    found = defaultdict(list)
    for case in pattern_case_rows():
        bound = bind(contract.binding, contract.structure, messages_of(case))
        assert bound.from_prompt and bound.structure, (case["id"], bound.note)
        found[bound.structure.text].append(case["expected"])
    return found


def test_bound_to_its_schema_the_grammar_accepts_every_expected_answer() -> None:
    tokenizer = xgrammar.TokenizerInfo([bytes([i]) for i in range(256)], stop_token_ids=[0])
    compiler = xgrammar.GrammarCompiler(tokenizer, max_threads=1)
    refused = []
    for grammar, answers in bound_grammars().items():
        compiled = compiler.compile_grammar(xgrammar.Grammar.from_ebnf(grammar))
        for answer in answers:
            matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
            if not (matcher.accept_string(answer) and matcher.is_terminated()):
                refused.append(answer)
    assert refused == []


def test_the_grammar_passes_the_servers_check_without_a_warning() -> None:
    grammar = decode_grammar((EXPERT / "grammar.gbnf").read_bytes(), "grammar.gbnf")
    assert grammar.warnings == ()


def test_the_grammar_accepts_every_answer_of_the_data() -> None:
    answers = {e.response for e in (*train_sample(), *validation_examples(7, 100))}
    answers |= {c["expected"] for c in pattern_case_rows()}
    assert [answer for answer in sorted(answers) if not accepts(answer)] == []


@pytest.mark.parametrize(
    "text",
    [
        "WITH t AS (SELECT a FROM b) SELECT * FROM t;",
        "SELECT a FROM b WHERE NOT EXISTS (SELECT * FROM c WHERE c.b_id = b.id);",
        "SELECT CASE WHEN a > 1 THEN 'x' ELSE 'y' END AS k FROM b;",
        "SELECT a FROM b UNION SELECT a FROM c ORDER BY a LIMIT 3;",
        "SELECT a FROM b WHERE c = 'it''s; fine';",
        "SELECT a.x FROM b AS a LEFT JOIN c ON c.id = a.c_id WHERE c.id IS NULL;",
        "SELECT MAX(a) - MIN(a) FROM b WHERE (x > 1 OR y < -2) AND z NOT IN (1, 2);",
    ],
)
def test_the_grammar_accepts_other_selects(text: str) -> None:
    assert accepts(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "SELECT",
        "SELECT a FROM b",
        "SELECT a FROM b;\n",
        " SELECT a FROM b;",
        "SELECT a  FROM b;",
        "SELECT a\nFROM b;",
        "SELECT FROM b;",
        "SELECT a FROM b,;",
        "SELECT a FROM b WHERE ;",
        "SELECT a FROM b; SELECT c FROM d;",
        "SELECT a FROM b; DROP TABLE b;",
        "SELECT a FROM b WHERE c = 'x; DROP TABLE b;",
        "SELECT a FROM b -- all of it;",
        "DROP TABLE b;",
        "DELETE FROM b;",
        "UPDATE b SET a = 1;",
        "Here is the query: SELECT a FROM b;",
        "```sql\nSELECT a FROM b;\n```",
        "SELECT a FROM b; This lists every a.",
    ],
)
def test_the_grammar_refuses_all_else(text: str) -> None:
    assert not accepts(text)


# manifest


def test_no_field_of_the_manifest_is_refused() -> None:
    manifest = parse_manifest((EXPERT / "manifest.json").read_bytes())
    refused = [row for row in field_status(manifest) if row.status == "refused"]
    assert refused == []


def test_files_that_the_manifest_names_are_there() -> None:
    manifest = parse_manifest((EXPERT / "manifest.json").read_bytes())
    assert manifest.training and manifest.training.decoding and manifest.evaluation
    for name in (manifest.training.decoding.grammar_file, manifest.evaluation.test_cases):
        assert name and (EXPERT / name).is_file()


def test_the_license_is_the_repositorys() -> None:
    assert (EXPERT / "LICENSE").read_bytes() == (EXPERT.parents[1] / "LICENSE").read_bytes()


# test cases


def pattern_case_rows() -> Iterator[dict[str, Any]]:
    return (c for c in case_document()["cases"] if not c["category"].startswith("other-hand/"))


def test_the_committed_cases_are_what_the_generator_writes() -> None:
    draws = cases.fixtures()
    made = [*cases.pattern_cases(7, 300, draws), *cases.free_cases(draws)]
    text = (EXPERT / "tests/test_cases.json").read_text(encoding="utf-8")
    assert cases_document("sql_execution", made, cases.scripts(draws)) == text


def test_there_are_enough_cases_of_each_family() -> None:
    counts = Counter(c["category"].split("/")[0] for c in case_document()["cases"])
    assert counts.pop("other-hand") >= 60
    assert counts == {"single": 150, "aggregate": 45, "join": 75, "subquery": 30}
    assert len(case_document()["fixtures"]) >= 12
    assert (EXPERT / "tests/test_cases.json").stat().st_size < 400_000


def test_case_ids_are_unique_and_messages_well_formed() -> None:
    rows = case_document()["cases"]
    assert len({c["id"] for c in rows}) == len(rows)
    for case in rows:
        roles = [m["role"] for m in case["messages"]]
        assert roles in (["system", "user"], ["user"])
        assert "Schema:" in case["messages"][0]["content"]


def test_every_expected_answer_finds_something() -> None:
    for case in case_document()["cases"]:
        rows = fixture(case["fixture"]).execute(case["expected"]).fetchall()
        assert any(value not in (None, 0) for row in rows for value in row), case


def test_a_filter_changes_the_result_of_its_case() -> None:
    for case in case_document()["cases"]:
        tree = sqlglot.parse_one(case["expected"].rstrip(";"), dialect="sqlite")
        where = tree.args.get("where")
        if where is None:
            continue
        run = fixture(case["fixture"]).execute
        expected = sorted(map(repr, run(case["expected"]).fetchall()))
        where.pop()
        assert sorted(map(repr, run(tree.sql(dialect="sqlite")).fetchall())) != expected, case


def test_a_limit_does_not_cut_through_equal_rows() -> None:
    for case in case_document()["cases"]:
        tree = sqlglot.parse_one(case["expected"].rstrip(";"), dialect="sqlite")
        limit, order = tree.args.get("limit"), tree.args.get("order")
        if limit is None:
            continue
        assert order is not None
        key = order.expressions[0].this.copy()
        number = int(limit.expression.this)
        tree.set("expressions", [key])
        tree.limit(number + 1, copy=False)
        rows = fixture(case["fixture"]).execute(tree.sql(dialect="sqlite")).fetchall()
        assert len(rows) <= number or rows[number] != rows[number - 1], case


def test_the_usual_mix_is_what_ships() -> None:
    assert train_examples(7, 200, MIXES["usual"]) == list(train_sample()[:200])


@pytest.mark.parametrize("name", [name for name in MIXES if name != "usual"])
def test_a_mix_leaves_out_one_thing(name: str) -> None:
    changed = [f for f in ("joins", "one_wording", "bare_columns")
               if getattr(MIXES[name], f) != getattr(USUAL, f)]  # fmt: skip
    assert len(changed) == 1
    assert train_examples(7, 40, MIXES[name]) != train_examples(7, 40)


def test_few_joins_are_few() -> None:
    def share(mix: Mix) -> float:
        rows = train_examples(7, 400, mix)
        return sum(row.category.startswith("join/") for row in rows) / len(rows)

    assert share(USUAL) > 0.2
    assert share(MIXES["few-joins"]) < 0.08


def test_with_one_wording_questions_begin_alike() -> None:
    def beginnings(mix: Mix) -> int:
        rows = train_examples(7, 300, mix)
        return len({row.instruction.split()[0].lower() for row in rows})

    assert beginnings(MIXES["one-wording"]) * 2 < beginnings(USUAL)


def test_bare_columns_find_the_same_rows() -> None:
    rng, bare, asked = random.Random(5), 0, 0
    for schema in (*TRAIN.values(), *TEST.values()):
        draw = draw_for(schema, rng)
        for family in FAMILIES if schema.links else ("single", "aggregate"):
            question = ask(draw, family)
            if question is None:
                continue
            sql = question.answer
            without = with_bare_columns(sql, schema)
            assert draw.database.execute(without) == draw.database.execute(sql), without
            bare += without.count(".") < sql.count(".")
            asked += 1
    assert bare > asked * 0.9


def test_bare_columns_leave_texts_and_shared_names_alone() -> None:
    (schema,) = [s for s in TRAIN.values() if s.links][:1]
    link = schema.links[0]
    child, parent = link.child.name, link.parent.name
    sql = f"SELECT {child}.id FROM {child} JOIN {parent} ON 1 WHERE {child}.x = '{child}.id';"
    assert with_bare_columns(sql, schema) == sql
