"""Room for so many requests, and a time to come back for the others."""

from __future__ import annotations

from hive_expert.serving.traffic import (
    MAX_RETRY_AFTER_S,
    Traffic,
    TrafficLimits,
    TurnedAway,
)


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def full(limits: TrafficLimits, clock: Clock | None = None) -> Traffic:
    traffic = Traffic(limits, clock=clock or Clock())
    while traffic.enter(None) is None:
        pass
    return traffic


def test_as_many_get_in_as_run_and_wait() -> None:
    traffic = full(TrafficLimits(running=2, waiting=3))
    assert (traffic.present, traffic.waiting) == (5, 3)


def test_a_full_server_says_so_and_when_to_come_back() -> None:
    refused = full(TrafficLimits(running=1, waiting=1)).enter(None)
    assert isinstance(refused, TurnedAway)
    assert (refused.status, refused.retry_after_s) == (503, 1)


def test_one_tenant_cannot_take_all_the_room() -> None:
    traffic = Traffic(TrafficLimits(running=4, waiting=4, per_tenant=2))
    assert [traffic.enter("alice") for _ in range(2)] == [None, None]
    refused = traffic.enter("alice")
    assert refused is not None
    assert refused.status == 429
    assert traffic.enter("bob") is None
    traffic.leave("alice")
    assert traffic.enter("alice") is None


def test_nobody_enters_a_server_that_drains() -> None:
    traffic = Traffic()
    assert traffic.enter(None) is None
    traffic.draining = True
    refused = traffic.enter(None)
    assert refused is not None
    assert (refused.status, refused.reason) == (503, "draining")


def test_the_time_to_come_back_follows_the_pace_of_departures() -> None:
    clock = Clock()
    traffic = full(TrafficLimits(running=1, waiting=10), clock)
    for _ in range(5):
        clock.now += 2
        traffic.leave(None)
        traffic.enter(None)
    refused = traffic.enter(None)
    assert refused is not None
    # Ten wait, one leaves every two seconds: half of them are done in ten.
    assert refused.retry_after_s == 10
    clock.now += 10_000
    refused = traffic.enter(None)
    assert refused is not None
    assert refused.retry_after_s == MAX_RETRY_AFTER_S


def test_a_batch_s_requests_are_present_and_nobody_s() -> None:
    traffic = Traffic(TrafficLimits(running=2, waiting=0, per_tenant=1))
    assert traffic.enter("a", job=True) is None
    assert traffic.enter("a") is None
    assert traffic.present == 2
    assert traffic.enter("b", job=True) is not None
    traffic.leave("a", job=True)
    assert traffic.present == 1
    traffic.draining = True
    assert traffic.enter("b", job=True) is not None


def test_batches_are_no_direct_requests() -> None:
    traffic = Traffic(TrafficLimits(running=4))
    for job in (False, True, False):
        traffic.enter("alice", job=job)
    assert (traffic.present, traffic.direct) == (3, 2)
    traffic.leave("alice")
    assert (traffic.present, traffic.direct) == (2, 1)
