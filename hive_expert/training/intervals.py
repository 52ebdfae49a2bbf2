"""Rates with their uncertainty."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 2000
SEED = 12_345


@dataclass(frozen=True, slots=True)
class Rate:
    """A mean over ``count`` cases with its 95 % bootstrap interval. Law: low ≤ value ≤ high."""

    value: float
    low: float
    high: float
    count: int


def bootstrap(values: Sequence[float]) -> Rate:
    """Mean of the values and the middle 95 % of means of resamples; the same each time."""
    if not values:
        return Rate(0.0, 0.0, 0.0, 0)
    size = len(values)
    mean = sum(values) / size
    rng = random.Random(SEED)  # noqa: S311 - resampling
    means = sorted(sum(rng.choices(values, k=size)) / size for _ in range(RESAMPLES))
    low, high = means[round(0.025 * RESAMPLES)], means[round(0.975 * RESAMPLES) - 1]
    # A skewed resample of few cases can leave its mean just outside.
    return Rate(mean, min(low, mean), max(high, mean), size)
