from __future__ import annotations

from dataclasses import replace

import pytest

from hive_expert.errors import DatasetError
from hive_expert.training.cases import TestCase, TestSuite
from hive_expert.training.scoring import CaseScore, check_expected, score_case

SQL = TestCase(
    id="one",
    category="single",
    messages=({"role": "user", "content": "Who is older than 30?"},),
    expected="SELECT name FROM users WHERE age > 30;",
    database="CREATE TABLE users (name, age); INSERT INTO users VALUES ('Ada', 36), ('Bob', 25);",
)
JSON = TestCase(
    id="two",
    category="order",
    messages=({"role": "user", "content": "Two mops"},),
    expected='{"item": "mop", "count": 2}',
    schema={
        "type": "object",
        "properties": {"item": {"type": "string"}, "count": {"type": "integer"}},
        "required": ["item", "count"],
        "additionalProperties": False,
    },
)


@pytest.mark.parametrize(
    ("answer", "correct", "valid", "clean"),
    [
        ("SELECT name FROM users WHERE age > 30;", True, True, True),
        ("SELECT users.name AS who FROM users WHERE NOT age <= 30", True, True, True),
        ("SELECT name FROM users", False, True, True),
        ("SELECT name FROM people", False, False, True),
        ("```sql\nSELECT name FROM users WHERE age > 30;\n```", True, True, False),
        ("Sure:\n```\nSELECT name FROM users WHERE age > 30;\n```\nDone.", True, True, False),
        ("SELECT name FROM users WHERE age > 30; Done.", False, False, False),
        ("DELETE FROM users;", False, False, False),
        ("I do not know.", False, False, False),
        ("", False, False, False),
    ],
)
def test_sql(answer: str, correct: bool, valid: bool, clean: bool) -> None:
    score = score_case(SQL, answer)
    assert (score.correct, score.valid, score.clean) == (correct, valid, clean)
    assert bool(score.reason) is not correct


def test_order_counts_when_it_is_asked_for() -> None:
    ordered = replace(SQL, expected="SELECT name FROM users ORDER BY age;")
    assert score_case(ordered, "SELECT name FROM users ORDER BY age").correct
    assert not score_case(ordered, "SELECT name FROM users ORDER BY name").correct


@pytest.mark.parametrize(
    ("answer", "correct", "valid", "clean"),
    [
        ('{"item": "mop", "count": 2}', True, True, True),
        (' {"count":2.0,"item":"mop"}\n', True, True, True),
        ('{"item": "mop", "count": 3}', False, True, True),
        ('{"item": "mop", "count": "2"}', False, False, True),
        ('{"item": "mop"}', False, False, True),
        ('{"item": "mop", "count": 2, "more": 1}', False, False, True),
        ('```json\n{"item": "mop", "count": 2}\n```', True, True, False),
        ('Here: {"item": "mop", "count": 2}', False, False, False),
        ('{"item": "mop", "count": 2} done', False, False, False),
        ('{"item": "mop", "count": 2, "count": 2}', False, False, False),
        ('{"item": "mop", "count": NaN}', False, False, False),
        ('[{"item": "mop", "count": 2}]', False, False, False),
        ("{" * 100_000, False, False, False),
    ],
)
def test_json(answer: str, correct: bool, valid: bool, clean: bool) -> None:
    score = score_case(JSON, answer)
    assert (score.correct, score.valid, score.clean) == (correct, valid, clean)


@pytest.mark.parametrize(
    ("expected", "answer", "correct"),
    [
        ("[true]", "[1]", False),
        ("[1]", "[true]", False),
        ("[0]", "[false]", False),
        ("[null]", "[0]", False),
        ('[{"a": [1, {"b": 2}]}]', '[{"a": [1.0, {"b": 2}]}]', True),
        ("[1, 2]", "[2, 1]", False),
        ("[1]", "[1, 1]", False),
        ('["1"]', "[1]", False),
    ],
)
def test_json_equality(expected: str, answer: str, correct: bool) -> None:
    case = replace(JSON, expected=expected, schema={})
    assert score_case(case, answer).correct is correct


def test_a_schema_cannot_make_us_fetch_addresses() -> None:
    case = replace(JSON, schema={"$ref": "http://127.0.0.1:1/schema.json"})
    assert score_case(case, JSON.expected).reason.startswith("the schema: ")


def test_scores_are_the_same_each_time() -> None:
    assert score_case(SQL, "SELECT 1") == score_case(SQL, "SELECT 1")


def test_expected_answers_must_pass_themselves() -> None:
    check_expected(TestSuite("sql_execution", (SQL,)))
    check_expected(TestSuite("json_schema", (JSON,)))
    bad = replace(SQL, id="bad", expected="SELECT nothing FROM users;")
    invalid = replace(JSON, id="worse", expected="{}")
    with pytest.raises(DatasetError) as caught:
        check_expected(TestSuite("sql_execution", (SQL, bad, invalid)))
    assert [p.where for p in caught.value.problems] == ["case bad", "case worse"]


def test_a_perfect_score_needs_no_reason() -> None:
    assert score_case(SQL, SQL.expected) == CaseScore(True, True, True)


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        (JSON.expected, 1.0),
        ('{"item":"mop","count":3}', 0.5),
        ('{"item":"mop","count":"two"}', 0.5),
        ("no object", 0.0),
    ],
)
def test_an_object_is_scored_by_field_too(answer: str, share: float) -> None:
    assert score_case(JSON, answer).fields == share


def test_what_asks_for_no_object_has_no_fields() -> None:
    assert score_case(SQL, SQL.expected).fields is None
