from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hive_expert.errors import DatasetError
from hive_expert.training.cases import parse_test_cases
from hive_expert.training.datasets import FieldMapping
from hive_expert.training.language import Language
from hive_expert.training.scoring import check_expected, score_case
from hive_expert.training.split_cases import split_suite

GRAPH = "Dialect: cypher\nSchema:\n(:Person {name})"
SHAPE = 'Dialect: json\nSchema:\n{"type":"object","properties":{"a":{"type":"integer"}}}'


@pytest.mark.parametrize(
    ("language", "system", "answer", "metric"),
    [
        ("json", SHAPE, '{"a":1}', "json_schema"),
        ("json", "", '{"a":1}', "exact_match"),
        ("cypher", GRAPH, "MATCH (p:Person) RETURN p.name", "cypher_structure"),
        ("cypher", "", "MATCH (p:Person) RETURN p.name", "exact_match"),
        ("sql", "Dialect: sql\nSchema:\nt(a)", "SELECT a FROM t;", "exact_match"),
        ("typescript", "", "const a = 1;", "exact_match"),
        ("none", "", "It is.", "exact_match"),
    ],
)
def test_a_row_is_scored_by_as_much_as_it_tells(
    write_rows: Callable[..., Path], language: Language, system: str, answer: str, metric: str
) -> None:
    path = write_rows([{"input": system, "instruction": "?", "response": answer}])
    suite = split_suite(path, "jsonl", FieldMapping(), language)
    assert suite.metric == metric
    assert [case.id for case in suite.cases] == ["train.jsonl:1"]
    check_expected(suite)


def test_a_match_is_exact_but_for_white_space_and_must_parse(
    write_rows: Callable[..., Path],
) -> None:
    path = write_rows([{"input": "", "instruction": "?", "response": "SELECT a FROM t;"}])
    (case,) = split_suite(path, "jsonl", FieldMapping(), "sql").cases
    found = [
        score_case(case, answer)
        for answer in (
            "SELECT a\nFROM t;",
            "```sql\nSELECT a FROM t;\n```",
            "SELECT b FROM t;",
            "SELECT FROM WHERE",
            "",
        )
    ]
    told = [(one.correct, one.valid, one.clean) for one in found]
    wrong = (False, False, False)
    assert told == [
        (True, True, True),
        (True, True, False),
        (False, True, True),
        wrong,
        wrong,
    ]


def test_a_bad_row_is_named(write_rows: Callable[..., Path]) -> None:
    with pytest.raises(DatasetError, match=r"train\.jsonl:1"):
        split_suite(write_rows([{"x": 1}]), "jsonl", FieldMapping(), "none")


def test_cases_may_ask_for_an_exact_match() -> None:
    suite = parse_test_cases(
        b'{"format": 1, "metric": "exact_match", "cases": [{"id": "1", "expected": "yes",'
        b' "messages": [{"role": "user", "content": "?"}]}]}'
    )
    assert score_case(suite.cases[0], "yes").correct
    assert not score_case(suite.cases[0], "no").correct
