from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_expert.training.intervals import bootstrap


def test_interval_of_a_coin() -> None:
    rate = bootstrap([0, 1] * 50)
    assert rate.value == 0.5
    assert rate.low == pytest.approx(0.40, abs=0.03)  # ± 1.96 standard errors of 0.05
    assert rate.high == pytest.approx(0.60, abs=0.03)


def test_more_cases_narrow_the_interval() -> None:
    few, many = bootstrap([0, 1] * 10), bootstrap([0, 1] * 500)
    assert many.high - many.low < (few.high - few.low) / 3


def test_the_same_each_time() -> None:
    assert bootstrap([0, 1, 1]) == bootstrap([0, 1, 1])


def test_nothing_measured() -> None:
    assert bootstrap([]).count == 0


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=20))
def test_value_lies_within(values: list[float]) -> None:
    rate = bootstrap(values)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
