"""Cases of strangers are scored as ours are, and none of them holds us up."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from hive_expert.errors import DatasetError, UnfinishedError
from hive_expert.training import scoring_apart
from hive_expert.training.cases import TestCase, TestSuite
from hive_expert.training.scoring import check_expected, score_all
from hive_expert.training.scoring_apart import ScoringApart

TABLE = "CREATE TABLE t (x); INSERT INTO t VALUES (1), (2);"


def sql(name: str, expected: str, script: str = TABLE) -> TestCase:
    return TestCase(name, "", ({"role": "user", "content": "?"},), expected, database=script)


def schema(name: str, expected: str, schema: Mapping[str, Any]) -> TestCase:
    return TestCase(name, "", ({"role": "user", "content": "?"},), expected, schema=schema)


def doubling(levels: int) -> dict[str, Any]:
    """A schema that is looked at twice as often at each level."""
    names = [f"l{level}" for level in range(levels)]
    twice = {
        name: {"allOf": [{"$ref": f"#/$defs/{deeper}"}] * 2} for name, deeper in pairwise(names)
    }
    return {"$ref": "#/$defs/l0", "$defs": {**twice, names[-1]: {"type": "object"}}}


@pytest.fixture
def score() -> ScoringApart:
    return ScoringApart(time.monotonic() + 300)


def test_a_score_is_the_same_here_and_there(score: ScoringApart) -> None:
    answers = [
        (sql("1", "SELECT sum(x) FROM t;"), "SELECT 3;"),
        (sql("2", "SELECT x FROM t;"), "SELECT 3;"),
        (sql("3", "SELECT x FROM t;"), "nonsense \u00e9\n"),
        (schema("4", '{"a": 1}', {"type": "object"}), '{"a": 1.0}'),
        (schema("5", '{"a": 1}', {"required": ["b"]}), '{"a": 1}'),
    ]
    assert score(answers) == score_all(answers)
    assert score([]) == []


@pytest.mark.parametrize(
    "hostile",
    [
        schema("pattern", '{"a": "' + "a" * 40 + '!"}',
               {"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}),
        schema("twice as often", "{}", doubling(40)),
        schema("without end", "{}", {"$ref": "#"}),
    ],
    ids=lambda case: case.id,
)  # fmt: skip
def test_what_never_ends_is_ended_and_the_next_is_scored(
    hostile: TestCase, score: ScoringApart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_apart, "LIMIT_S", 1.0)
    after = sql("after", "SELECT 1;")
    found = score([(hostile, hostile.expected), (after, "SELECT 1;")])
    assert not found[0].correct
    assert found[0].reason
    assert found[1].correct
    with pytest.raises(DatasetError, match="its expected answer fails"):
        check_expected(TestSuite("json_schema", (hostile,)), score)


def test_no_case_is_begun_after_the_deadline() -> None:
    with pytest.raises(UnfinishedError, match="no time left"):
        ScoringApart(time.monotonic() - 1)([(sql("1", "SELECT 1;"), "SELECT 1;")])
