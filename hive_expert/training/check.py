"""Measuring what a package claims of its expert, by the tests inside it. SPEC section 13."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from hive_expert.catalog.checks import Check
from hive_expert.decoding.contract import Contract, contract_of
from hive_expert.errors import InstallError, Problem, UnfinishedError
from hive_expert.manifest.model import QualityMetrics
from hive_expert.package.layout import TEST_CASES
from hive_expert.package.open import VerifiedPackage
from hive_expert.training.cases import (
    TestCase,
    TestSuite,
    every_nth,
    in_fixed_disorder,
    parse_test_cases,
)
from hive_expert.training.claims import Verdict, interval, judgeable, standing, verdicts
from hive_expert.training.evaluate import (
    Answer,
    Contestant,
    Graded,
    Settings,
    evaluate,
    grade,
)
from hive_expert.training.evaluation_report import EvaluationReport, make_report
from hive_expert.training.intervals import Rate, bootstrap
from hive_expert.training.kept_answers import KeptAnswers
from hive_expert.training.scoring import Score, check_expected


@dataclass(frozen=True, slots=True)
class Questions:
    """What a package brings to be asked, and what it claims comes of it.

    ``suite`` has the cases that are asked, ``total`` is how many the package has.
    """

    model: str
    digest: str
    suite: TestSuite
    total: int
    contract: Contract
    claims: QualityMetrics

    def contestants(self, base: str | None) -> list[Contestant]:
        """Who is asked: the expert, and the base in each way in which the claims count it."""
        asked = [Contestant(self.model, "grammar")]
        if base is not None:
            asked += [Contestant(base, "no-grammar")]
            asked += [Contestant(base, "grammar")] if self.contract.constrains else []
        return asked


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a check. ``check.reproduced`` says nothing where there are no ``verdicts``."""

    model: str
    verdicts: tuple[Verdict, ...]
    check: Check


def questions_of(package: VerifiedPackage, limit: int | None, score: Score) -> Questions:
    """The tests inside a package: all of them, or so many, spread evenly.

    Raises InstallError where there are none, DatasetError where they are no tests.
    """
    manifest = package.manifest
    model = f"{manifest.name}@{manifest.version}"
    file = package.directory / TEST_CASES
    if not file.is_file():
        raise InstallError(Problem(model, f"has no {TEST_CASES}: nothing can be checked"))
    whole = parse_test_cases(file.read_bytes(), f"{model}: {TEST_CASES}")
    suite = every_nth(whole, limit) if limit else whole
    check_expected(suite, score)
    decoding = manifest.training.decoding if manifest.training else None
    return Questions(
        model=model,
        digest=package.digest,
        suite=in_fixed_disorder(suite),
        total=len(whole.cases),
        contract=contract_of(decoding, lambda name: (package.directory / name).read_bytes()),
        claims=manifest.quality_metrics or QualityMetrics(),
    )


def measure(
    questions: Questions,
    contestants: Sequence[Contestant],
    settings: Settings,
    kept: KeptAnswers,
    on_answer: Callable[[], None],
    score: Score,
    *,
    today: datetime.date,
) -> EvaluationReport:
    """Ask what is not among the kept answers, and keep each answer as it comes.

    They are forgotten once all are there, unless more were kept than are asked now.

    Raises UnfinishedError when the time is up, or when the server fails: a question that no model
    has answered is no wrong answer.
    """

    def keep(contestant: Contestant, case: TestCase, answer: Answer) -> None:
        if answer.lost:
            what = f"a question could not be asked: {answer.error}"
            raise UnfinishedError(Problem(settings.endpoint, what))
        kept.add(contestant, case, answer)
        on_answer()

    results = evaluate(questions.suite, contestants, settings, keep, kept.load(), score)
    asked = {(contestant, case.id) for contestant in contestants for case in questions.suite.cases}
    if kept.load().keys() <= asked:
        kept.forget()
    return make_report(
        results,
        questions.suite.metric,
        today=today,
        max_failures=0,
        candidates=settings.candidates,
        max_tokens=settings.max_tokens,
    )


def finding_of(report: EvaluationReport, questions: Questions, base: str) -> Finding:
    """What a report says of the claims."""
    found = verdicts(questions.claims, report, questions.model)
    measured = interval(standing(report, questions.model).correct)
    judged = {verdict.claim for verdict in found}
    check = Check(
        reproduced=all(verdict.holds for verdict in found),
        score=measured.value,
        low=measured.low,
        high=measured.high,
        cases=measured.count,
        total=questions.total,
        base=base,
        date=report.date,
        broken=tuple(str(verdict) for verdict in found if not verdict.holds),
        unjudged=tuple(name for name in judgeable(questions.claims) if name not in judged),
    )
    return Finding(questions.model, found, check)


@dataclass(frozen=True, slots=True)
class SoFar:
    """How far a check came that was stopped; ``correct`` is of the expert's answers."""

    answered: int
    asked: int
    correct: Rate

    def __str__(self) -> str:
        text = f"{self.answered} of {self.asked} answers are there and kept"
        if self.correct.count:
            found = interval(self.correct)
            text += (
                f"; of the expert's {found.count} so far {found.value:.4g} are right"
                f" ({found.low:.4g} to {found.high:.4g})"
            )
        return text


def so_far(
    questions: Questions, contestants: Sequence[Contestant], kept: KeptAnswers, score: Score
) -> SoFar:
    """What the kept answers amount to."""
    known, cases = kept.load(), questions.suite.cases
    expert = contestants[0]
    mine = [(case, known[expert, case.id]) for case in cases if (expert, case.id) in known]
    graded: list[Graded] = []
    with suppress(UnfinishedError):  # how far it came is worth telling without it
        graded = grade(mine, score)
    correct = bootstrap([one.score.correct for one in graded])
    return SoFar(answered(questions, contestants, kept), len(contestants) * len(cases), correct)


def answered(questions: Questions, contestants: Sequence[Contestant], kept: KeptAnswers) -> int:
    """How many of the answers there are."""
    known = kept.load()
    return sum((c, case.id) in known for c in contestants for case in questions.suite.cases)
