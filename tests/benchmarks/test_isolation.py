"""What `benchmarks/isolation.py` makes of times."""

from __future__ import annotations

import numpy as np
import pytest
from isolation import figures
from isolation_statistics import Guess, auc, interval


@pytest.mark.parametrize(
    ("sent", "unsent", "expected"),
    [
        ([1.0, 2.0], [3.0, 4.0], 1.0),
        ([3.0, 4.0], [1.0, 2.0], 0.0),
        ([1.0, 2.0], [1.0, 2.0], 0.5),
        ([1.0, 3.0], [2.0], 0.5),
    ],
)
def test_the_auc_is_how_often_a_sent_prompt_is_sooner(
    sent: list[float], unsent: list[float], expected: float
) -> None:
    assert auc(sent, unsent) == expected


def test_the_interval_holds_the_auc_and_narrows_with_more_guesses() -> None:
    numbers = np.random.default_rng(0)
    few, many = (numbers.random((2, count)).tolist() for count in (20, 200))
    wide, narrow = (interval(*times, numbers) for times in (few, many))
    assert wide[0] <= auc(*few) <= wide[1]
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


@pytest.mark.parametrize(("gain", "ok"), [(0.0, True), (0.5, False)])
def test_a_cache_that_tells_misses_the_target(gain: float, ok: bool) -> None:
    numbers = np.random.default_rng(0)
    found = [
        Guess(sent, float(numbers.random() - (gain if sent else 0))) for sent in [True, False] * 200
    ]
    told = figures({"salted": found, "nobody": found}, seed=0)
    assert told["salted"]["ok"] is ok
    assert "ok" not in told["nobody"]
