from __future__ import annotations

import json
from typing import Any

import pytest

from hive_expert.errors import DatasetError
from hive_expert.training.cases import every_nth, in_fixed_disorder, parse_test_cases

CASE = {
    "id": "one",
    "category": "single",
    "messages": [{"role": "user", "content": "How many?"}],
    "expected": "SELECT 1;",
    "fixture": "shop",
}
DOCUMENT: dict[str, Any] = {
    "format": 1,
    "metric": "sql_execution",
    "fixtures": {"shop": "CREATE TABLE t (x);"},
    "cases": [CASE],
}


def problems(document: Any) -> list[str]:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(DatasetError) as caught:
        parse_test_cases(data, "cases")
    return [str(problem) for problem in caught.value.problems]


def test_sql_suite() -> None:
    suite = parse_test_cases(json.dumps(DOCUMENT).encode())
    (case,) = suite.cases
    assert (suite.metric, case.id, case.database) == (
        "sql_execution",
        "one",
        "CREATE TABLE t (x);",
    )
    assert case.schema is None


def test_json_suite() -> None:
    case = {key: value for key, value in CASE.items() if key != "fixture"} | {"schema": {}}
    document = DOCUMENT | {"metric": "json_schema", "fixtures": None, "cases": [case]}
    (parsed,) = parse_test_cases(json.dumps(document).encode()).cases
    assert (parsed.schema, parsed.database) == ({}, None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "format is 2"),
        ({"metric": "vibes"}, "metric is 'vibes'"),
        ({"cases": []}, "there are no cases"),
        ({"cases": {}}, "there are no cases"),
        ({"fixtures": [1]}, "fixtures is not an object"),
        ({"cases": [3]}, "cases[0]: not an object"),
        ({"cases": [CASE | {"id": 1}]}, "cases[0]: id is not a text"),
        ({"cases": [CASE | {"expected": ""}]}, "cases[0]: expected is not a text"),
        ({"cases": [CASE | {"category": 1}]}, "cases[0]: category is not a text"),
        ({"cases": [CASE | {"messages": []}]}, "cases[0]: messages is not a list"),
        ({"cases": [CASE | {"messages": [{"role": "user"}]}]}, "messages is not a list"),
        ({"cases": [CASE | {"fixture": "no"}]}, "there is no fixture 'no'"),
        ({"cases": [CASE, CASE]}, "the id 'one' is used 2 times"),
        ({"metric": "json_schema"}, "schema is not an object"),
    ],
)
def test_one_corruption(change: dict[str, Any], says: str) -> None:
    (problem,) = problems(DOCUMENT | change)
    assert says in problem


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "broken JSON at line 1"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_broken_file(data: bytes, says: str) -> None:
    (problem,) = problems(data)
    assert says in problem


def test_all_problems_at_once() -> None:
    document = DOCUMENT | {"cases": [CASE | {"id": ""}, CASE | {"fixture": "no"}]}
    assert len(problems(document)) == 2


def test_every_nth_spreads_over_the_suite() -> None:
    cases = [CASE | {"id": str(number)} for number in range(10)]
    suite = parse_test_cases(json.dumps(DOCUMENT | {"cases": cases}).encode())
    assert [case.id for case in every_nth(suite, 3).cases] == ["0", "3", "6"]
    assert every_nth(suite, 99) == suite


def test_the_disorder_is_the_same_each_time_and_loses_nothing() -> None:
    cases = [{**CASE, "id": str(number)} for number in range(50)]
    suite = parse_test_cases(json.dumps({**DOCUMENT, "cases": cases}).encode())
    mixed = in_fixed_disorder(suite)
    assert mixed == in_fixed_disorder(suite)
    assert mixed.cases != suite.cases
    assert sorted(case.id for case in mixed.cases) == sorted(case.id for case in suite.cases)
