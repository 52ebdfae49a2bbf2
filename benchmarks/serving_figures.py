"""Figures out of rounds: a ratio or a time with its spread, held to a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from rounds import Ratio

Bound = Literal["at least", "at most"]


@dataclass(frozen=True)
class Finding:
    """What one part of `serving.py` has found."""

    figures: dict[str, dict[str, Any]]
    """By the names of SPEC section 16; each has `ratio`, `low`, `high`, `target` and `ok`."""
    beside: dict[str, Any] = field(default_factory=dict)
    """Controls, and what explains the figures."""
    raw: dict[str, list[float]] = field(default_factory=dict)
    """What was measured, round by round."""


def figure(ratio: Ratio, target: float, bound: Bound, *, also: bool = True) -> dict[str, Any]:
    """A ratio held to its target; `ok` only if `also` the rest of the target is met."""
    return (
        asdict(ratio)
        | {"target": target, "bound": bound}
        | {"ok": meets(ratio.ratio, target, bound) and also}
    )


def meets(value: float, target: float, bound: Bound) -> bool:
    return value >= target if bound == "at least" else value <= target


@dataclass(frozen=True)
class Milliseconds:
    """A time, or what one is longer than another: median over the rounds, least and greatest."""

    ms: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Milliseconds:
        times = [1000 * s for s in seconds]
        return cls(median(times), min(times), max(times), len(times))

    @classmethod
    def added(cls, longer: Sequence[float], shorter: Sequence[float]) -> Milliseconds:
        """Of each round's pair."""
        return cls.of([a - b for a, b in zip(longer, shorter, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """The least of `values` that is not exceeded by `share` of them (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
