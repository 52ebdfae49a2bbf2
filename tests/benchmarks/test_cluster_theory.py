from __future__ import annotations

import heapq
from collections.abc import Callable

import pytest
from cluster_checks import Check, lru, mg1, mmc, queue, two_choices
from cluster_theory import (
    best_hits,
    erlang_c,
    lru_hits,
    stay_of_two_choices,
    wait_of_mg1,
    wait_of_mmc,
    zipf,
)

REQUESTS = 50_000


def test_one_server_is_the_textbook_queue() -> None:
    assert erlang_c(1, 0.7) == pytest.approx(0.7)
    assert wait_of_mmc(1, 0.5, 1.0) == pytest.approx(1.0)
    assert wait_of_mg1(0.5, 1.0, 2.0) == pytest.approx(wait_of_mmc(1, 0.5, 1.0))


def test_two_servers() -> None:
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)


def test_two_choices_are_far_better_than_one_under_load() -> None:
    assert stay_of_two_choices(0.0) == 1.0
    assert stay_of_two_choices(0.9) < 1 / (1 - 0.9) / 3


def test_least_recently_used_lies_below_the_best_and_meets_it_where_all_are_alike() -> None:
    assert lru_hits(zipf(100, 0.0), 25) == pytest.approx(0.25)
    skewed = zipf(100, 1.0)
    assert 0.25 < lru_hits(skewed, 25) < best_hits(skewed, 25)
    assert lru_hits(skewed, 100) == 1.0


@pytest.mark.parametrize(
    ("check", "tolerance"),
    [
        (lambda: mmc(4, 0.6, REQUESTS), 0.08),
        (lambda: mg1(0.5, REQUESTS), 0.08),
        (lambda: two_choices(0.8, REQUESTS), 0.03),
        (lambda: lru(0.8, REQUESTS // 2), 0.02),
        (lambda: lru(1.2, REQUESTS // 2), 0.02),
    ],
    ids=["M/M/c", "M/G/1", "two choices", "LRU, Zipf 0.8", "LRU, Zipf 1.2"],
)
def test_the_simulation_agrees_with_theory(check: Callable[[], Check], tolerance: float) -> None:
    found = check()
    assert abs(found.off) < tolerance, found


def test_seats_are_servers_customer_by_customer() -> None:
    free = [0.0] * 4
    for request in queue(1, 4, 0.9 * 4, 2_000, exponential_answers=True):
        begin = max(request.arrived, heapq.heappop(free))
        assert request.first == pytest.approx(begin)
        heapq.heappush(free, begin + request.answer - 1)
