"""Discrete events: a front sends requests to replicas, which fetch experts from one store.

Arrivals are Poisson, experts are drawn by Zipf's law and independently of one another, prompts and
answers have random lengths. Before the clock starts, requests pass the policy without taking time
(`Demand.before`), so that memories and disks hold what they would after hours; of what is timed the
first tenth is not counted.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from cluster_costs import Costs
from cluster_policies import Make, View
from cluster_replica import Replica, Request, Room, Tier
from cluster_theory import zipf

UNCOUNTED = 0.1
"""Of the timed requests: while queues build up."""
IN_HANDS = 8
"""Requests of a replica at a time, while none takes time."""


@dataclass(frozen=True)
class Site:
    replicas: int
    experts: int
    room: Room
    costs: Costs
    fronts: int = 1
    """Processes that share the front's work."""
    auto: bool = False
    """Every request asks for `auto`, and the front chooses the expert."""
    package_mb: float = 10.0
    store_mb_s: float = 1250.0
    """What the store sends to all together: 10 Gbit/s."""
    link_mb_s: float = 125.0
    """What it sends to one: 1 Gbit/s."""
    round_trip_s: float = 0.02

    def front_s(self, answer: float) -> float:
        """Processor time of the front for one request with so many tokens of answer."""
        fixed, per_expert = self.costs.route_s if self.auto else (0.0, 0.0)
        passing_on = self.costs.front_token_s * answer
        return self.costs.front_s + passing_on + fixed + per_expert * self.experts

    def fetched_s(self) -> float:
        """From the first byte of a package to a verified one, without waiting for the store."""
        moving = self.package_mb / self.link_mb_s
        return moving + self.round_trip_s + self.package_mb / self.costs.verify_mb_s


@dataclass(frozen=True)
class Demand:
    rate: float
    """Requests a second."""
    skew: float = 1.0
    requests: int = 100_000
    before: int = 0
    """Requests that fill memories and disks before the clock starts."""
    prompt: float = 128.0
    answer: float = 32.0
    """Mean tokens."""
    seed: int = 0


@dataclass(frozen=True)
class Failure:
    """Replicas that die at once, after that share of the run, and come back empty."""

    replicas: int
    after: float = 0.4


@dataclass
class Run:
    """What came of a simulation, request by request."""

    site: Site
    demand: Demand
    requests: list[Request]
    """Those that are counted."""
    fetches: list[tuple[float, float]] = field(default_factory=list)
    """When each was asked for, and when the store began to send."""
    failed_at: float = 0.0
    retried: int = 0


def simulate(
    site: Site,
    demand: Demand,
    make: Make,
    *,
    failure: Failure | None = None,
    requests: Sequence[Request] | None = None,
) -> Run:
    """Runs until every request is answered; the same arguments give the same result.

    Args:
        requests: instead of those that `demand` describes, in the order of their arrivals.
    """
    requests = requests or drawn(site, demand)
    cluster = _Cluster(site, make, random.Random(demand.seed))
    cluster.fill(_experts(site, demand, demand.before, demand.seed + 1))
    run = Run(site, demand, list(requests)[int(len(requests) * UNCOUNTED) :])
    if failure is not None:
        run.failed_at = requests[int(len(requests) * failure.after)].arrived
        cluster.fail_at(run.failed_at, failure.replicas)
    departures = front_departures(requests, site.front_s(demand.answer), site.fronts)
    cluster.serve(requests, departures)
    run.fetches, run.retried = cluster.fetches, cluster.retried
    return run


def front_departures(requests: Sequence[Request], seconds: float, processes: int) -> list[float]:
    """When each leaves the front: `processes` servers, first come first served."""
    free = deque([0.0] * processes)
    departures = []
    for request in requests:
        end = max(request.arrived, free.popleft()) + seconds
        free.append(end)
        departures.append(end)
    return departures


class _Cluster:
    """Replicas, their front's view of them, the store, and what is to happen."""

    def __init__(self, site: Site, make: Make, draw: random.Random) -> None:
        self.site, self._draw = site, draw
        self.view = View(site.replicas)
        self.policy = make(self.view, draw)
        self.replicas = [
            Replica(site.costs, site.room, forgotten=self._forget(number))
            for number in range(site.replicas)
        ]
        self.fetches: list[tuple[float, float]] = []
        self.retried = 0
        lines = max(1, round(site.store_mb_s / site.link_mb_s))
        self._lines_free = [0.0] * lines
        """When each of the store's lines is free."""
        self._events: list[tuple[float, int, int, int]] = []
        """Time, a number that makes it unique, kind, replica or expert."""
        self._count = 0
        self._announced = [0.0] * site.replicas
        self._arriving: dict[int, tuple[int, int]] = {}
        """Fetches under way, by the event's number: replica and expert."""
        self._back: dict[int, float] = {}

    def _forget(self, replica: int) -> Callable[[int], None]:
        return lambda expert: self.view.dropped(expert, replica)

    def fill(self, experts: Sequence[int]) -> None:
        """Let requests pass that take no time; each is in its replica's hands for a while."""
        hands: deque[int] = deque()
        for expert in experts:
            replica = self.policy.choose(expert)
            self.view.sent(expert, replica)
            self.replicas[replica].touch(expert)
            self.replicas[replica].remember(expert)
            hands.append(replica)
            if len(hands) > IN_HANDS * self.site.replicas:
                self.view.ended(hands.popleft())
        for replica in hands:
            self.view.ended(replica)

    def fail_at(self, time: float, replicas: int) -> None:
        for replica in self._draw.sample(range(self.site.replicas), replicas):
            self._schedule(time, _DIES, replica)

    def serve(self, requests: Sequence[Request], departures: Sequence[float]) -> None:
        events = self._events
        coming = 0
        while coming < len(requests) or events:
            if coming < len(requests) and (not events or departures[coming] <= events[0][0]):
                self._dispatch(requests[coming], departures[coming])
                coming += 1
                continue
            time, number, kind, subject = heapq.heappop(events)
            if kind == _STEPS:
                if self.replicas[subject].next == time:
                    self._step(subject, time)
            elif kind == _FETCHED:
                replica, expert = self._arriving.pop(number)
                self.replicas[replica].fetched(expert, time)
                self._announce(replica)
            elif kind == _DIES:
                self._die(subject, time)
            else:
                self.view.returned(subject)

    def _dispatch(self, request: Request, now: float) -> None:
        number = self.policy.choose(request.expert)
        self.view.sent(request.expert, number)
        request.replica = number
        if self.replicas[number].take(request, now):
            self._fetch(number, request.expert, now)
        self._announce(number)

    def _step(self, number: int, now: float) -> None:
        self._announced[number] = -1.0  # what comes next may take no time
        for _ in self.replicas[number].step(now):
            self.view.ended(number)
        self._announce(number)

    def _fetch(self, replica: int, expert: int, now: float) -> None:
        site = self.site
        begin = max(now, heapq.heappop(self._lines_free))
        heapq.heappush(self._lines_free, begin + site.package_mb / site.link_mb_s)
        self.fetches.append((now, begin))
        number = self._schedule(begin + site.fetched_s(), _FETCHED, replica)
        self._arriving[number] = (replica, expert)

    def _die(self, number: int, now: float) -> None:
        """What had no token yet is asked again elsewhere; who had some has a broken answer."""
        replica = self.replicas[number]
        self.view.died(number)
        held = replica.die()
        replica.disk.clear()
        for event in [e for e, (where, _) in self._arriving.items() if where == number]:
            del self._arriving[event]
        self._events[:] = [e for e in self._events if e[2] != _FETCHED or e[1] in self._arriving]
        heapq.heapify(self._events)
        self._schedule(now + self.site.costs.start_s, _RETURNS, number)
        for request in held:
            if request.first == request.first:  # not NaN: it was streaming
                request.lost, request.done = True, now
            else:
                self.retried += 1
                self._dispatch(request, now)

    def _announce(self, number: int) -> None:
        time = self.replicas[number].next
        if time != self._announced[number] and time != float("inf"):
            self._schedule(time, _STEPS, number)
        self._announced[number] = time

    def _schedule(self, time: float, kind: int, subject: int) -> int:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, kind, subject))
        return self._count


_STEPS, _FETCHED, _DIES, _RETURNS = range(4)


def drawn(site: Site, demand: Demand) -> list[Request]:
    """The requests of a demand: prompts of a gamma and answers of a geometric distribution."""
    random_numbers = np.random.default_rng(demand.seed)
    count = demand.requests
    arrivals = np.cumsum(random_numbers.exponential(1 / demand.rate, count))
    prompts = np.maximum(1.0, random_numbers.gamma(2.0, demand.prompt / 2, count))
    answers = random_numbers.geometric(1 / demand.answer, count).astype(float)
    experts = _experts(site, demand, count, demand.seed)
    return [
        Request(*row)
        for row in zip(arrivals.tolist(), experts, prompts.tolist(), answers.tolist(), strict=True)
    ]


def _experts(site: Site, demand: Demand, count: int, seed: int) -> list[int]:
    """Numbers of experts, 0 being the most wanted."""
    bounds = np.cumsum(zipf(site.experts, demand.skew))
    drawn = np.random.default_rng(seed + 1_000_000).random(count)
    return np.minimum(np.searchsorted(bounds, drawn), site.experts - 1).tolist()


def hits(requests: Sequence[Request]) -> dict[str, float]:
    """The share of requests by where they found their expert."""
    found = np.bincount([request.found for request in requests], minlength=len(Tier))
    return {tier.name.lower(): float(found[tier] / len(requests)) for tier in Tier}
