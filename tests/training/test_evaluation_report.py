from __future__ import annotations

import datetime
import json

import pytest

from hive_expert.errors import UsageError
from hive_expert.manifest.parse import dump_manifest, manifest_from, parse_manifest
from hive_expert.training.cases import TestCase
from hive_expert.training.evaluate import Answer, Contestant, Graded
from hive_expert.training.evaluation_report import (
    EvaluationReport,
    as_json,
    make_report,
    quality_metrics,
    with_quality_metrics,
)
from hive_expert.training.scoring import CaseScore
from tests.training.conftest import manifest_document

EXPERT = Contestant("expert-tiny", "grammar")
EXPERT_FREE = Contestant("expert-tiny", "no-grammar")
BASE = Contestant("tiny", "no-grammar")
BASE_BOUND = Contestant("tiny", "grammar")
TODAY = datetime.date(2030, 1, 2)


def graded(marks: str, error: str = "") -> list[Graded]:
    """One graded answer per mark: ``+`` correct, ``-`` wrong; categories alternate."""
    return [
        Graded(
            TestCase(str(number), "ab"[number % 2], (), "wanted"),
            Answer("given", error, 0.5, 7),
            CaseScore(mark == "+", True, True, "" if mark == "+" else "wrong"),
        )
        for number, mark in enumerate(marks)
    ]


def report(**marks: str) -> EvaluationReport:
    contestants = {
        "expert": EXPERT,
        "expert_free": EXPERT_FREE,
        "base": BASE,
        "base_bound": BASE_BOUND,
    }
    results = {contestants[name]: graded(text) for name, text in marks.items()}
    return make_report(results, "sql_execution", today=TODAY, max_failures=2, max_tokens=128)


def test_standing() -> None:
    (standing,) = report(expert="++-+").standings
    assert standing.correct.value == 0.75
    assert [(c.category, c.correct, c.count) for c in standing.categories] == [
        ("a", 1, 2),
        ("b", 2, 2),
    ]
    assert (standing.median_seconds, standing.mean_tokens, standing.errors) == (0.5, 7, 0)


def test_failed_requests_are_counted() -> None:
    results = {EXPERT: [*graded("-", error="timeout"), *graded("+")]}
    (standing,) = make_report(
        results, "sql_execution", today=TODAY, max_failures=2, max_tokens=128
    ).standings
    assert standing.errors == 1
    assert standing.correct.value == 0.5


def test_duel_is_case_by_case() -> None:
    (duel,) = report(expert="++--", base="+-+-").duels
    assert (duel.wins, duel.losses, duel.ties) == (1, 1, 2)


def test_a_tie_is_no_win() -> None:
    (duel,) = report(expert="++" + "-" * 38, base="-" * 40).duels
    assert (duel.wins, duel.ties) == (2, 38)
    assert duel.win_rate.value == 2 / 40
    assert duel.win_rate.high < 0.5


def test_failures_are_limited_for_each_contestant() -> None:
    failures = report(expert="----", base="+-++").failures
    assert [(f.model, f.case) for f in failures] == [
        ("expert-tiny", "0"),
        ("expert-tiny", "1"),
        ("tiny", "1"),
    ]
    assert (failures[0].answer, failures[0].expected, failures[0].reason) == (
        "given",
        "wanted",
        "wrong",
    )


def test_report_is_json() -> None:
    document = json.loads(json.dumps(as_json(report(expert="+-", base="--"))))
    assert document["format"] == 1
    assert document["date"] == "2030-01-02"


def test_quality_compares_the_served_expert_with_the_best_base() -> None:
    made = report(expert="+++-", expert_free="++++", base="+---", base_bound="++--")
    metrics = quality_metrics(made, "expert-tiny", 99)
    assert metrics.benchmark_score == 0.75
    assert metrics.base_model_score == 0.5
    assert metrics.improvement_percent == 50
    assert metrics.win_rate_vs_base == 0.25
    assert (metrics.test_queries, metrics.training_steps) == (4, 99)
    assert metrics.test_date == "2030-01-02"


def test_no_percentage_from_nothing() -> None:
    metrics = quality_metrics(report(expert="++", base="--"), "expert-tiny", None)
    assert metrics.improvement_percent is None


@pytest.mark.parametrize("marks", [{"expert": "+"}, {"base": "+"}])
def test_quality_needs_both(marks: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="must both be evaluated"):
        quality_metrics(report(**marks), "expert-tiny", None)


def test_manifest_keeps_everything_else() -> None:
    document = manifest_document() | {"_why": "a comment"}
    manifest = manifest_from(document)
    metrics = quality_metrics(report(expert="+-", base="--"), "expert-tiny", 3)
    written = parse_manifest(dump_manifest(with_quality_metrics(manifest, metrics)))
    assert written.quality_metrics == metrics
    before, after = json.loads(dump_manifest(manifest)), json.loads(dump_manifest(written))
    assert {k: v for k, v in after.items() if k != "quality_metrics"} == before


def test_what_the_author_says_and_nobody_measures_is_kept() -> None:
    stated = {"checkpoint": "checkpoint-40", "training_steps": 40, "_why": "a comment"}
    old = {"benchmark_score": 0.9, "base_model_score": 0.1, "improvement_percent": 800.0}
    manifest = manifest_from(manifest_document() | {"quality_metrics": stated | old})
    metrics = quality_metrics(report(expert="+-", base="--"), "expert-tiny", None)
    document = json.loads(dump_manifest(with_quality_metrics(manifest, metrics)))
    written = document["quality_metrics"]
    assert {name: written[name] for name in stated} == stated
    assert written["benchmark_score"] == 0.5
    assert "improvement_percent" not in written


def test_fields_are_a_mean_over_cases_that_ask_for_an_object() -> None:
    case = TestCase("1", "a", (), "{}", schema={})
    answer, failed = Answer("{}", "", 0.5, 7), Answer("", "timeout", 0.5, 0)
    results = {
        EXPERT: [
            Graded(case, answer, CaseScore(False, True, True, "wrong", 0.5)),
            Graded(case, failed, CaseScore(False, False, False, "request: timeout")),
        ]
    }
    (standing,) = make_report(
        results, "json_schema", today=TODAY, max_failures=2, max_tokens=128
    ).standings
    assert standing.fields is not None
    assert standing.fields.value == 0.25
    (other,) = report(expert="+").standings
    assert other.fields is None
