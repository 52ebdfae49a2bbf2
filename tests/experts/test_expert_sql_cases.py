"""The grammar and the test cases of expert-sql."""

from __future__ import annotations

from collections import Counter

import pytest
import sqlglot
from text_to_sql import cases
from text_to_sql.dataset import validation_examples

from hive_expert.decoding.prompt import messages_of
from hive_expert.training.generated import cases_document
from tests.experts.grammars import (
    accepts,
    bound_grammars,
    compiled_grammar,
    refused,
    refused_when_bound,
)
from tests.experts.sql_rows import (
    EXPERT,
    case_document,
    fixture,
    pattern_case_rows,
    train_sample,
)


def test_bound_to_its_schema_the_grammar_accepts_every_expected_answer() -> None:
    """Those by another hand name columns without their tables, as the expert never does."""
    asked = [(messages_of(case), case["expected"]) for case in pattern_case_rows()]
    assert refused_when_bound(bound_grammars(EXPERT, asked)) == []


def test_the_grammar_accepts_every_answer_of_the_data() -> None:
    answers = {e.response for e in (*train_sample(), *validation_examples(7, 100))}
    answers |= {c["expected"] for c in pattern_case_rows()}
    assert refused(EXPERT, answers) == []


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
    assert accepts(compiled_grammar(EXPERT), text)


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
    assert not accepts(compiled_grammar(EXPERT), text)


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
