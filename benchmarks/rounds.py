"""Ratios of things measured side by side: interleaved rounds, medians, spread."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

Result = TypeVar("Result")


def interleave(
    subjects: Mapping[str, Callable[[], Result]],
    rounds: int,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, list[Result]]:
    """Measure each subject once per round, in an order that changes from round to round.

    What slows the machine down for a while then meets all of them alike.
    """
    results: dict[str, list[Result]] = {name: [] for name in subjects}
    shuffled = random.Random(0)
    for number in range(rounds):
        order = list(subjects)
        shuffled.shuffle(order)
        for name in order:
            tell(f"round {number + 1} of {rounds}: {name}")
            results[name].append(subjects[name]())
    return results


@dataclass(frozen=True)
class Ratio:
    """The ratio of two subjects: median over the rounds, least and greatest."""

    ratio: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, above: list[float], below: list[float]) -> Ratio:
        """Of each round's pair: what the two have in common there cancels out."""
        pairs = [a / b for a, b in zip(above, below, strict=True)]
        return cls(median(pairs), min(pairs), max(pairs), len(pairs))

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({self.low:.2f}…{self.high:.2f})"
