"""Whether what a manifest claims of its expert's quality holds on this machine. Pure. SPEC §13.

A claim holds unless the measurement speaks against it: it lies above the 95 % interval of what was
measured, or, for the base model's score, below it. Claiming less than was measured is no lie.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from hive_expert.errors import Problem, UsageError
from hive_expert.manifest.model import QualityMetrics
from hive_expert.training.evaluation_report import EvaluationReport, Standing
from hive_expert.training.intervals import Rate

Z = 1.96
ROUNDING = 5e-5
"""Claims are written with four digits."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One claim, what was measured, and whether it holds.

    Where nothing was measured (``measured.count`` is 0) it is what other claims come to.
    """

    claim: str
    claimed: float
    measured: Rate
    holds: bool

    def __str__(self) -> str:
        found = self.measured
        if not found.count:
            told = f"the scores that are claimed come to {found.value:.4g}"
        else:
            told = f"measured {found.value:.4g} ({found.low:.4g} to {found.high:.4g})"
        return f"{self.claim}: claimed {self.claimed:.4g}, {told}"


JUDGEABLE = ("benchmark_score", "base_model_score", "win_rate_vs_base", "improvement_percent")
"""What of `quality_metrics` is a claim that a measurement can speak against."""


def judgeable(claims: QualityMetrics) -> tuple[str, ...]:
    """The claims that a manifest makes, by name."""
    return tuple(name for name in JUDGEABLE if getattr(claims, name) is not None)


def verdicts(claims: QualityMetrics, report: EvaluationReport, expert: str) -> tuple[Verdict, ...]:
    """Every claim that the report can tell something of.

    Raises UsageError if the report is not of this expert.
    """
    mine = standing(report, expert)
    found = [*_of_score(claims, mine), *_of_base(claims, report, mine), *_of_gain(claims)]
    return tuple(found)


def standing(report: EvaluationReport, expert: str) -> Standing:
    """How the expert did as it is served: with its grammar, where both were measured."""
    own = [s for s in report.standings if s.model == expert]
    if not own:
        raise UsageError(Problem(expert, "is not in the report"))
    return next((s for s in own if s.variant == "grammar"), own[0])


def interval(rate: Rate) -> Rate:
    """The rate with Wilson's interval joined to its own: resampling answers that are all right, or
    all wrong, would leave no room at all. Law: it holds the rate's own interval."""
    if not rate.count:
        return Rate(rate.value, 0.0, 1.0, 0)
    n, p = rate.count, rate.value
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Rate(p, min(low, rate.low), max(high, rate.high), n)


def _of_score(claims: QualityMetrics, mine: Standing) -> Iterator[Verdict]:
    if claims.benchmark_score is not None:
        yield _no_more_than("benchmark_score", claims.benchmark_score, interval(mine.correct))


def _of_base(claims: QualityMetrics, report: EvaluationReport, mine: Standing) -> Iterator[Verdict]:
    """The base counts by whichever variant served it best, as it did for the claim."""
    others = [s for s in report.standings if s.model != mine.model]
    if not others:
        return
    base = max(others, key=lambda s: s.correct.value)
    if claims.base_model_score is not None:
        found = interval(base.correct)
        claimed = claims.base_model_score
        yield Verdict("base_model_score", claimed, found, claimed >= found.low - ROUNDING)
    duels = [
        d
        for d in report.duels
        if (d.expert, d.expert_variant, d.base, d.base_variant)
        == (mine.model, mine.variant, base.model, base.variant)
    ]
    if claims.win_rate_vs_base is not None and duels:
        found = interval(duels[0].win_rate)
        yield _no_more_than("win_rate_vs_base", claims.win_rate_vs_base, found)


def _of_gain(claims: QualityMetrics) -> Iterator[Verdict]:
    """The improvement follows from the two scores that are claimed, or it is wrong."""
    gain, score, base = claims.improvement_percent, claims.benchmark_score, claims.base_model_score
    if gain is None or score is None or not base:
        return
    true = 100 * (score / base - 1)
    room = 0.1 + 100 * (score / base) * (ROUNDING / base + ROUNDING / max(score, ROUNDING))
    holds = gain <= true + room
    yield Verdict("improvement_percent", gain, Rate(true, true - room, true + room, 0), holds)


def _no_more_than(claim: str, claimed: float, found: Rate) -> Verdict:
    return Verdict(claim, claimed, found, claimed <= found.high + ROUNDING)
