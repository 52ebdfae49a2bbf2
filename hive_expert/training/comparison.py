"""Two evaluations of the same cases, case by case: what got better, what got worse (SPEC §12)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hive_expert.errors import Problem, TrainingError, UsageError
from hive_expert.training.evaluate import EXPERT_PREFIX
from hive_expert.training.intervals import Rate, bootstrap

MAX_SHOWN = 50
"""Cases of each kind that a comparison names."""


@dataclass(frozen=True, slots=True)
class Side:
    """One model in one variant, as a report has it. ``outcomes``: case id to correct or not."""

    model: str
    variant: str
    outcomes: Mapping[str, bool]
    categories: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CategoryChange:
    """Correct answers of a category before and after."""

    category: str
    before: int
    after: int
    count: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A, over the cases that both have.

    ``difference`` is B's share of correct answers less A's, with the 95 % bootstrap interval of
    the pairs: cases that both get right or wrong make it narrower than two intervals apart would
    be. Law: better + worse + same = cases.
    """

    a: str
    b: str
    cases: int
    only_a: int
    only_b: int
    difference: Rate
    same: int
    better: tuple[str, ...]
    worse: tuple[str, ...]
    categories: tuple[CategoryChange, ...]

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves no room for no difference."""
        return self.difference.low > 0 or self.difference.high < 0


def parse_sides(data: bytes, where: str) -> list[Side]:
    """What an evaluation's report holds of each contestant.

    Raises TrainingError for what is no report, or one without the outcome of each case.
    """
    try:
        document: Any = json.loads(data)
        standings = document["standings"]
        sides = [_side(standing) for standing in standings]
    except (ValueError, KeyError, TypeError) as error:
        what = "is no report of hive-train evaluate, or one of a version without outcomes by case"
        remedy = "write one with hive-train evaluate --output"
        raise TrainingError(Problem(where, what, remedy)) from error
    if not sides:
        raise TrainingError(Problem(where, "holds no result"))
    return sides


def _side(standing: Mapping[str, Any]) -> Side:
    outcomes = {str(o["case"]): bool(o["correct"]) for o in standing["outcomes"]}
    categories = {str(o["case"]): str(o["category"]) for o in standing["outcomes"]}
    return Side(standing["model"], standing["variant"], outcomes, categories)


def choose_side(sides: Sequence[Side], model: str | None, variant: str | None, where: str) -> Side:
    """The side that is meant: by name, else the only expert's with its grammar, else the first.

    Raises UsageError when the report has none such.
    """
    fitting = [s for s in sides if model in (None, s.model) and variant in (None, s.variant)]
    experts = {side.model for side in fitting if side.model.startswith(EXPERT_PREFIX)}
    if model is None and len(experts) == 1:
        fitting = [side for side in fitting if side.model in experts]
        fitting.sort(key=lambda side: side.variant != "grammar")
    if fitting:
        return fitting[0]
    known = ", ".join(f"{side.model} ({side.variant})" for side in sides)
    what = f"has no {model or 'model'} ({variant or 'any variant'})"
    raise UsageError(Problem(where, what, f"it has {known}"))


def compare(a: Side, b: Side) -> Comparison:
    """B against A. Raises UsageError when they have no case in common."""
    common = [case for case in a.outcomes if case in b.outcomes]
    if not common:
        raise UsageError(Problem("", "the two have no case in common", "compare the same cases"))
    better = tuple(case for case in common if b.outcomes[case] and not a.outcomes[case])
    worse = tuple(case for case in common if a.outcomes[case] and not b.outcomes[case])
    return Comparison(
        a=f"{a.model} ({a.variant})",
        b=f"{b.model} ({b.variant})",
        cases=len(common),
        only_a=len(a.outcomes) - len(common),
        only_b=len(b.outcomes) - len(common),
        difference=bootstrap([int(b.outcomes[c]) - int(a.outcomes[c]) for c in common]),
        same=len(common) - len(better) - len(worse),
        better=better,
        worse=worse,
        categories=tuple(_changes(a, b, common)),
    )


def _changes(a: Side, b: Side, common: Sequence[str]) -> list[CategoryChange]:
    by_category: dict[str, list[str]] = {}
    for case in common:
        by_category.setdefault(a.categories[case], []).append(case)
    return [
        CategoryChange(
            category,
            sum(a.outcomes[case] for case in cases),
            sum(b.outcomes[case] for case in cases),
            len(cases),
        )
        for category, cases in sorted(by_category.items())
    ]


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as a JSON document."""
    return {"format": 1, "clear": comparison.is_clear} | asdict(comparison)
