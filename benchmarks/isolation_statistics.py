"""How well a time tells two kinds of guesses apart: the AUC, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
TARGET = 0.55
"""Of the salted AUC, whose interval should also hold 0.5."""


@dataclass(frozen=True)
class Guess:
    """One prompt the attacker tries, and how long its first token took."""

    sent: bool
    """The victim has sent it."""
    seconds: float


def auc(sent: Sequence[float], unsent: Sequence[float]) -> float:
    """The probability that a sent prompt is answered sooner than one that was not; ties half."""
    a, b = np.asarray(sent)[:, None], np.asarray(unsent)[None, :]
    return float((a < b).mean() + (a == b).mean() / 2)


def interval(
    sent: Sequence[float], unsent: Sequence[float], generator: np.random.Generator
) -> tuple[float, float]:
    """95 % bootstrap interval of the AUC."""
    a, b = np.asarray(sent), np.asarray(unsent)
    drawn = [
        auc(generator.choice(a, a.size).tolist(), generator.choice(b, b.size).tolist())
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def times(found: Sequence[Guess]) -> tuple[list[float], list[float]]:
    """Seconds of the sent and of the unsent."""
    return [g.seconds for g in found if g.sent], [g.seconds for g in found if not g.sent]


def summary(
    found: Sequence[Guess], generator: np.random.Generator, *, held: bool
) -> dict[str, object]:
    """The AUC with its interval and the median times; `held` to the target if so."""
    sent, unsent = times(found)
    low, high = interval(sent, unsent, generator)
    figure: dict[str, object] = {"auc": auc(sent, unsent), "low": low, "high": high}
    figure |= {"guesses": len(found)}
    figure |= {"sent_ms": _median_ms(sent), "unsent_ms": _median_ms(unsent)}
    if held:
        figure |= {"target": TARGET, "ok": auc(sent, unsent) <= TARGET and low <= 0.5}
    return figure


def _median_ms(seconds: Sequence[float]) -> float:
    return round(1000 * float(np.median(seconds)), 1)
