"""What an evaluation found: scores with intervals, by category, and expert against base."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hive_expert.errors import Problem, UnfinishedError, UsageError
from hive_expert.manifest.metrics import share_of
from hive_expert.manifest.model import Manifest, QualityMetrics
from hive_expert.training.cases import Metric
from hive_expert.training.evaluate import EXPERT_PREFIX, Contestant, Graded, Results
from hive_expert.training.intervals import Rate, bootstrap

MEASURED = {
    "benchmark_score",
    "base_model_score",
    "improvement_percent",
    "win_rate_vs_base",
    "test_queries",
    "test_date",
}
"""The fields of `quality_metrics` that an evaluation replaces or, where it has none, removes."""


@dataclass(frozen=True, slots=True)
class CategoryScore:
    """Correct answers of one category of cases."""

    category: str
    correct: int
    count: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether one case was answered correctly: what two evaluations are compared by."""

    case: str
    category: str
    correct: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How one contestant did. ``valid``, ``clean`` and ``fields`` are explained at ``CaseScore``;
    ``fields`` is a mean over the cases that ask for an object, and None where none does.

    ``errors`` counts failed requests, ``lost`` those of them that no model is to blame for. Law:
    lost ≤ errors.
    """

    model: str
    variant: str
    correct: Rate
    valid: Rate
    clean: Rate
    fields: Rate | None
    errors: int
    lost: int
    median_seconds: float
    mean_tokens: float
    categories: tuple[CategoryScore, ...]
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Duel:
    """Expert against base, case by case. Law: wins + losses + ties = cases.

    ``win_rate`` is wins by cases, as the manifest defines it: a tie is no win.
    """

    expert: str
    expert_variant: str
    base: str
    base_variant: str
    wins: int
    losses: int
    ties: int
    win_rate: Rate


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that was not correct, to look at."""

    model: str
    variant: str
    case: str
    category: str
    reason: str
    answer: str
    expected: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """What the manifest asks of its expert, served with its grammar where that was measured."""

    metric: str
    least: float
    value: float
    met: bool


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """The whole result; ``metric`` and ``cases`` say of what, ``max_tokens`` how long an answer
    could be, and ``candidates`` how many of them a case could have. ``metrics`` are those that the
    manifest wants shown: the usual ones where it says nothing."""

    metric: Metric
    cases: int
    date: str
    candidates: int
    max_tokens: int
    standings: tuple[Standing, ...]
    duels: tuple[Duel, ...]
    failures: tuple[Failure, ...]
    metrics: tuple[str, ...] = ()
    thresholds: tuple[Threshold, ...] = ()

    @property
    def shares(self) -> list[str]:
        """The rates of a standing that are shown, by name."""
        if self.metrics:
            return list(dict.fromkeys(map(share_of, self.metrics)))
        by_field = any(s.fields for s in self.standings)
        return ["correct", "valid", "clean", *["fields"] * by_field]


def make_report(
    results: Results,
    metric: Metric,
    *,
    today: datetime.date,
    max_failures: int,
    max_tokens: int,
    candidates: int = 1,
) -> EvaluationReport:
    """Summarise graded answers; up to ``max_failures`` wrong answers per contestant are kept."""
    experts = [c for c in results if c.is_expert]
    bases = [c for c in results if not c.is_expert]
    return EvaluationReport(
        metric=metric,
        cases=len(next(iter(results.values()))),
        date=today.isoformat(),
        candidates=candidates,
        max_tokens=max_tokens,
        standings=tuple(_standing(c, graded) for c, graded in results.items()),
        duels=tuple(_duel(e, results[e], b, results[b]) for e in experts for b in bases),
        failures=tuple(
            _failure(contestant, one)
            for contestant, graded in results.items()
            for one in [g for g in graded if not g.score.correct][:max_failures]
        ),
    )


def quality_metrics(report: EvaluationReport, expert: str, steps: int | None) -> QualityMetrics:
    """The manifest's ``quality_metrics`` for one expert.

    The expert counts as it is served, with its grammar where that was measured; the base model
    by whichever variant served it best, so that the claim holds against either.

    Raises UsageError unless both were asked, and UnfinishedError where the server lost answers:
    a question that no model has answered is no wrong answer.
    """
    own = [s for s in report.standings if s.model == expert]
    others = [s for s in report.standings if not s.model.startswith(EXPERT_PREFIX)]
    if not own or not others:
        what = f"{expert} and a base model must both be evaluated"
        raise UsageError(Problem("--write-manifest", what, "add them to --models"))
    if lost := sum(standing.lost for standing in report.standings):
        what = f"{lost} question{'s' * (lost > 1)} got no answer: the server was gone or too busy"
        remedy = "evaluate again, with a lower --concurrency or a server that has room"
        raise UnfinishedError(Problem("quality_metrics", what, remedy))
    mine = next((s for s in own if s.variant == "grammar"), own[0])
    base = max(others, key=lambda s: s.correct.value)
    duel = next(
        d
        for d in report.duels
        if (d.expert, d.expert_variant, d.base, d.base_variant)
        == (mine.model, mine.variant, base.model, base.variant)
    )
    measured: dict[str, Any] = {
        "benchmark_score": round(mine.correct.value, 4),
        "base_model_score": round(base.correct.value, 4),
        "win_rate_vs_base": round(duel.win_rate.value, 4),
        "test_queries": report.cases,
        "test_date": report.date,
    }
    if base.correct.value:  # from nothing there is no percentage
        gain = mine.correct.value / base.correct.value - 1
        measured["improvement_percent"] = round(100 * gain, 1)
    if steps is not None:
        measured["training_steps"] = steps
    return QualityMetrics(**measured)


def with_quality_metrics(manifest: Manifest, metrics: QualityMetrics) -> Manifest:
    """The manifest with its ``quality_metrics`` replaced, but for what its author says there and no
    evaluation measures. A figure that this one has not (`improvement_percent`) goes."""
    before = manifest.quality_metrics
    if before is not None:
        kept = before.model_dump(mode="json", exclude_unset=True, exclude=MEASURED)
        told = metrics.model_dump(mode="json", exclude_unset=True)
        metrics = QualityMetrics.model_validate(kept | told)
    return manifest.model_copy(update={"quality_metrics": metrics})


def _standing(contestant: Contestant, graded: Sequence[Graded]) -> Standing:
    answered = [g.answer for g in graded if not g.answer.error]
    return Standing(
        model=contestant.model,
        variant=contestant.variant,
        correct=bootstrap([g.score.correct for g in graded]),
        valid=bootstrap([g.score.valid for g in graded]),
        clean=bootstrap([g.score.clean for g in graded]),
        fields=_fields(graded),
        errors=len(graded) - len(answered),
        lost=sum(g.answer.lost for g in graded),
        median_seconds=statistics.median(a.seconds for a in answered) if answered else 0.0,
        mean_tokens=statistics.fmean(a.tokens for a in answered) if answered else 0.0,
        categories=tuple(_categories(graded)),
        outcomes=tuple(Outcome(g.case.id, g.case.category, g.score.correct) for g in graded),
    )


def _fields(graded: Sequence[Graded]) -> Rate | None:
    # A request that failed has no fields, whatever its case asks for.
    shares = [g.score.fields or 0.0 for g in graded if g.case.schema is not None]
    return bootstrap(shares) if shares else None


def _categories(graded: Sequence[Graded]) -> list[CategoryScore]:
    by_category: dict[str, list[bool]] = {}
    for one in graded:
        by_category.setdefault(one.case.category, []).append(one.score.correct)
    return [CategoryScore(name, sum(v), len(v)) for name, v in sorted(by_category.items())]


def _duel(
    expert: Contestant, mine: Sequence[Graded], base: Contestant, theirs: Sequence[Graded]
) -> Duel:
    margins = [
        int(a.score.correct) - int(b.score.correct) for a, b in zip(mine, theirs, strict=True)
    ]
    return Duel(
        expert=expert.model,
        expert_variant=expert.variant,
        base=base.model,
        base_variant=base.variant,
        wins=margins.count(1),
        losses=margins.count(-1),
        ties=margins.count(0),
        win_rate=bootstrap([float(margin == 1) for margin in margins]),
    )


def _failure(contestant: Contestant, graded: Graded) -> Failure:
    return Failure(
        model=contestant.model,
        variant=contestant.variant,
        case=graded.case.id,
        category=graded.case.category,
        reason=graded.score.reason,
        answer=graded.answer.text,
        expected=graded.case.expected,
    )


def as_json(report: EvaluationReport) -> dict[str, Any]:
    """The report as a JSON document."""
    return {"format": 1} | asdict(report)
