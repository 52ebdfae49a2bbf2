"""The simulated cluster: residency, placement, and that no request is lost."""

from __future__ import annotations

import math
import random
from dataclasses import asdict, replace

import pytest
from cluster_costs import Costs, measured
from cluster_outcome import outcome
from cluster_policies import POLICIES, Affinity, Hashed, View
from cluster_replica import Replica, Request, Room, Tier
from cluster_simulation import Demand, Failure, Run, Site, drawn, front_departures, simulate

COSTS = Costs(0.001, 0.03, 0.002, activate_s=0.002, load_s=0.03, start_s=5.0)
SITE = Site(replicas=6, experts=60, room=Room(8, 4, 12, 30), costs=COSTS)
DEMAND = Demand(rate=15.0, requests=3_000, before=2_000)


def run(policy: str, site: Site = SITE, **options: object) -> Run:
    return simulate(site, DEMAND, POLICIES[policy], **options)  # type: ignore[arg-type]  # one is


@pytest.mark.parametrize("policy", POLICIES)
def test_every_request_is_answered_after_it_came(policy: str) -> None:
    for request in run(policy).requests:
        assert request.arrived < request.first <= request.done
        assert 0 <= request.replica < SITE.replicas


def test_the_same_seed_is_the_same_run() -> None:
    assert asdict(outcome(run("affinity"))) == asdict(outcome(run("affinity")))


def test_affinity_finds_more_at_hand_than_turns_do() -> None:
    near, robin = outcome(run("affinity")), outcome(run("round robin"))
    assert near.resident > robin.resident + 0.2
    assert robin.copies == SITE.replicas > near.copies


def test_a_death_loses_only_what_was_streaming_and_the_rest_is_asked_again() -> None:
    died = run("affinity", failure=Failure(2))
    found = outcome(died)
    for request in died.requests:
        assert not math.isnan(request.done)
        assert request.lost or request.first <= request.done
    assert found.retried > 0
    assert 0 < found.lost <= 2 * SITE.room.seats


def test_a_package_is_fetched_once_for_all_who_wait_for_it() -> None:
    replica = Replica(COSTS, SITE.room, forgotten=lambda _: None)
    first, second = Request(0.0, 7, 10, 5), Request(0.0, 7, 10, 5)
    assert replica.take(first, 0.0)
    assert not replica.take(second, 0.1)
    assert first.found is second.found is Tier.STORE
    replica.fetched(7, 1.0)
    assert replica.next == pytest.approx(1.0 + COSTS.load_s)
    answer(replica)
    assert first.first == pytest.approx(1.0 + COSTS.load_s + COSTS.activate_s + 10 * 0.001)


def test_who_leaves_the_memory_is_on_disk_and_who_comes_back_in_a_slot() -> None:
    forgotten: list[int] = []
    replica = Replica(COSTS, Room(seats=4, slots=1, memory=2, disk=10), forgotten.append)
    for expert in (0, 1, 2):
        replica.remember(expert)
    assert forgotten == [0]
    found = []
    for expert in (0, 2, 0, 0):
        request = Request(0.0, expert, 1, 2)
        replica.take(request, 0.0)
        answer(replica)
        found.append(request.found)
    assert found == [Tier.DISK, Tier.MEMORY, Tier.MEMORY, Tier.SLOT]


def test_a_batch_has_no_more_experts_than_slots() -> None:
    replica = Replica(COSTS, Room(seats=8, slots=2, memory=8, disk=8), lambda _: None)
    for expert in range(5):
        replica.remember(expert)
    for expert in (0, 1, 2, 3, 4, 0, 1):
        replica.take(Request(0.0, expert, 1, 50), 0.0)
    most = 0
    while replica.next < math.inf:
        replica.step(replica.next)
        assert len(replica.slots) <= 2
        most = max(most, sum(replica.slots.values()))
    assert most > 2, "two experts share a batch by several requests"
    assert not replica.requests


def test_a_larger_batch_answers_more_in_the_same_time() -> None:
    def seconds(seats: int) -> float:
        replica = Replica(COSTS, Room(seats, 1, 1, 1), lambda _: None)
        replica.remember(0)
        for _ in range(16):
            replica.take(Request(0.0, 0, 1, 20), 0.0)
        return answer(replica)

    assert seconds(16) < seconds(1) / 3
    alone = COSTS.request_s(1, 20, 16)
    assert seconds(16) == pytest.approx(16 * alone, rel=0.05)


def test_no_replica_gets_more_than_the_bound() -> None:
    view, draw = View(10), random.Random(0)
    hashed = Hashed(view, draw, slack=0.25)
    for number in range(2_000):
        expert = 0 if number % 2 else draw.randrange(500)
        bound = math.ceil(1.25 * (view.total + 1) / 10)
        chosen = hashed.choose(expert)
        view.sent(expert, chosen)
        assert view.loads[chosen] <= bound


def test_a_death_moves_the_experts_of_the_dead_and_no_others() -> None:
    view = View(10)
    hashed = Hashed(view, random.Random(0))
    before = {expert: hashed.choose(expert) for expert in range(300)}
    view.died(3)
    after = {expert: hashed.choose(expert) for expert in range(300)}
    moved = {expert for expert in before if before[expert] != after[expert]}
    assert moved == {expert for expert, replica in before.items() if replica == 3}
    assert moved


def test_affinity_copies_an_expert_only_when_its_replica_is_full() -> None:
    view = View(4)
    near = Affinity(view, random.Random(0), most=3)
    chosen = []
    for _ in range(4):
        chosen.append(near.choose(9))
        view.sent(9, chosen[-1])
    assert len(set(chosen[:3])) == 1
    assert chosen[3] != chosen[0]
    assert len(view.holders[9]) == 2


def test_the_front_is_a_queue_of_its_own() -> None:
    requests = [Request(at, 0, 1, 1) for at in (0.0, 0.0, 0.0, 10.0)]
    assert front_departures(requests, 1.0, 1) == [1.0, 2.0, 3.0, 11.0]
    assert front_departures(requests, 1.0, 2) == [1.0, 1.0, 2.0, 11.0]


def test_demand_is_as_it_says() -> None:
    requests = drawn(SITE, replace(DEMAND, requests=40_000, skew=1.0))
    shares = [sum(r.expert == n for r in requests) / len(requests) for n in range(3)]
    assert shares[0] / shares[1] == pytest.approx(2, rel=0.1)
    assert shares[0] / shares[2] == pytest.approx(3, rel=0.1)
    assert requests[-1].arrived == pytest.approx(40_000 / DEMAND.rate, rel=0.02)
    assert sum(r.prompt for r in requests) / len(requests) == pytest.approx(128, rel=0.02)
    assert sum(r.answer for r in requests) / len(requests) == pytest.approx(32, rel=0.02)


def test_costs_are_those_that_were_measured() -> None:
    costs = measured()
    assert 1 / costs.prompt_token_s == pytest.approx(1178, rel=0.5)
    assert costs.step(16) < 16 * costs.step(1) / 4
    assert costs.load_s > costs.activate_s > 0
    assert costs.slower(2).request_s(100, 10, 8) == pytest.approx(2 * costs.request_s(100, 10, 8))


def answer(replica: Replica) -> float:
    """Until it has nothing left to do; when that was."""
    now = 0.0
    while replica.next < math.inf:
        now = replica.next
        replica.step(now)
    return now
