"""Which claims a measurement speaks against."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_expert.manifest.model import QualityMetrics
from hive_expert.training.cases import TestCase
from hive_expert.training.claims import interval, verdicts
from hive_expert.training.evaluate import Answer, Contestant, Graded
from hive_expert.training.evaluation_report import EvaluationReport, make_report
from hive_expert.training.intervals import bootstrap
from hive_expert.training.scoring import CaseScore

EXPERT = "expert-x@0.1.0"


def graded(right: int, of: int) -> list[Graded]:
    case = TestCase("1", "", (), "x")
    answer = Answer("x", "", 0.1, 1)
    return [Graded(case, answer, CaseScore(n < right, n < right, True)) for n in range(of)]


def report(right: int = 60, base: int | None = 10, of: int = 100) -> EvaluationReport:
    results = {Contestant(EXPERT, "grammar"): graded(right, of)}
    if base is not None:
        results[Contestant("base", "no-grammar")] = graded(0, of)
        results[Contestant("base", "grammar")] = graded(base, of)
    today = datetime.date(2026, 3, 1)
    return make_report(results, "json_schema", today=today, max_failures=0, max_tokens=128)


def held(claims: dict[str, Any], measured: EvaluationReport) -> dict[str, bool]:
    found = verdicts(QualityMetrics.model_validate(claims), measured, EXPERT)
    return {verdict.claim: verdict.holds for verdict in found}


@pytest.mark.parametrize(
    ("claimed", "holds"), [(0.6, True), (0.65, True), (0.3, True), (0.75, False), (1.0, False)]
)
def test_a_score_may_not_lie_above_what_is_measured(claimed: float, holds: bool) -> None:
    assert held({"benchmark_score": claimed}, report()) == {"benchmark_score": holds}


@pytest.mark.parametrize(("claimed", "holds"), [(0.1, True), (0.5, True), (0.0, False)])
def test_the_base_may_not_be_made_worse_than_it_is(claimed: float, holds: bool) -> None:
    assert held({"base_model_score": claimed}, report()) == {"base_model_score": holds}


@pytest.mark.parametrize(("claimed", "holds"), [(0.5, True), (0.75, False)])
def test_the_win_rate_is_against_the_base_at_its_best(claimed: float, holds: bool) -> None:
    assert held({"win_rate_vs_base": claimed}, report()) == {"win_rate_vs_base": holds}


@pytest.mark.parametrize(("gain", "holds"), [(500.0, True), (100.0, True), (900.0, False)])
def test_the_improvement_must_follow_from_the_scores(gain: float, holds: bool) -> None:
    claims = {"benchmark_score": 0.6, "base_model_score": 0.1, "improvement_percent": gain}
    assert held(claims, report())["improvement_percent"] == holds


def test_what_was_measured_is_told_from_what_claims_come_to() -> None:
    claims = {"benchmark_score": 0.6, "base_model_score": 0.1, "improvement_percent": 900.0}
    found = verdicts(QualityMetrics.model_validate(claims), report(), EXPERT)
    score, _, gain = map(str, found)
    assert score.startswith("benchmark_score: claimed 0.6, measured 0.6 (0.5")
    assert gain == ("improvement_percent: claimed 900, the scores that are claimed come to 500")


def test_rounding_is_no_lie() -> None:
    claims = {"benchmark_score": 0.7624, "base_model_score": 0.011, "improvement_percent": 6800.0}
    assert held(claims, report(76, 1))["improvement_percent"]


def test_without_the_base_only_the_score_is_judged() -> None:
    claims = {"benchmark_score": 0.6, "base_model_score": 0.0, "win_rate_vs_base": 1.0}
    assert held(claims, report(base=None)) == {"benchmark_score": True}


def test_nothing_claimed_nothing_judged() -> None:
    assert held({}, report()) == {}


@given(st.integers(0, 40), st.integers(1, 40))
def test_the_interval_holds_the_value_and_has_room(right: int, of: int) -> None:
    right = min(right, of)
    found = interval(bootstrap([1.0] * right + [0.0] * (of - right)))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0.01
