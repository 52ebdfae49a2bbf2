"""Tokens in a given time, by a clock that a test sets."""

from __future__ import annotations

import pytest

from hive_expert.engine.pace import LEAST_TOKENS, Pace


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def step(pace: Pace, clock: Clock, tokens: int, seconds: float) -> None:
    plan = object()
    pace.begun(plan)
    clock.now += seconds
    pace.done(plan, tokens)


def test_it_knows_nothing_before_the_first_step(clock: Clock) -> None:
    assert Pace(clock).tokens_in(1) == 0


def test_it_lies_between_the_slowest_and_the_fastest_step(clock: Clock) -> None:
    pace = Pace(clock)
    step(pace, clock, 100, 1.0)
    assert pace.tokens_in(2) == 200
    step(pace, clock, 1000, 1.0)
    assert 100 < pace.tokens_in(1) < 1000
    for _ in range(50):
        step(pace, clock, 1000, 1.0)
    assert pace.tokens_in(1) == pytest.approx(1000, rel=0.01)


def test_small_steps_say_nothing(clock: Clock) -> None:
    pace = Pace(clock)
    step(pace, clock, LEAST_TOKENS - 1, 100.0)
    assert pace.tokens_in(1) == 0


def test_steps_may_overlap_or_never_end(clock: Clock) -> None:
    pace, plans = Pace(clock), [object() for _ in range(3)]
    for plan in plans:
        pace.begun(plan)
        clock.now += 1
    pace.done(plans[1], 200)
    assert pace.tokens_in(1) == 100
    pace.done(plans[0], 5000)
    pace.done(plans[2], 5000)
    assert pace.tokens_in(1) == 100
