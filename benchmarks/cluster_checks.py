"""The simulation beside theory: queues and caches whose figures are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cluster_costs import Costs
from cluster_policies import POLICIES
from cluster_replica import Request, Room
from cluster_simulation import Demand, Site, hits, simulate
from cluster_theory import lru_hits, stay_of_two_choices, wait_of_mg1, wait_of_mmc, zipf
from numpy.typing import NDArray

EVERYTHING = 1_000_000


@dataclass(frozen=True)
class Check:
    what: str
    simulated: float
    theory: float

    @property
    def off(self) -> float:
        """Relative."""
        return self.simulated / self.theory - 1


def all_checks(requests: int) -> list[Check]:
    """Each with so many requests; they are off by some 1 ÷ √requests, and more in long queues."""
    return [
        mmc(4, 0.8, requests),
        mg1(0.7, requests),
        two_choices(0.8, requests),
        lru(0.8, requests),
        lru(1.2, requests),
    ]


def mmc(servers: int, use: float, requests: int) -> Check:
    """A replica whose steps take the same time for any batch is `servers` servers: its seats."""
    run = queue(1, servers, use * servers, requests, exponential_answers=True)
    wait = float(np.mean([r.first - r.arrived for r in run[len(run) // 10 :]]))
    return Check(f"M/M/{servers} at {use}: mean wait", wait, wait_of_mmc(servers, use * servers, 1))


def mg1(use: float, requests: int) -> Check:
    """Prompts that are answered by one token, read one after the other."""
    run = queue(1, EVERYTHING, use, requests, exponential_answers=False)
    wait = float(np.mean([r.first - r.arrived - r.prompt for r in run]))
    square = 1 + 1 / 2  # of a gamma distribution with shape 2 and mean 1
    return Check(f"M/G/1 at {use}: mean wait", wait, wait_of_mg1(use, 1, square))


def two_choices(use: float, requests: int) -> Check:
    """A hundred replicas with one seat each."""
    run = queue(100, 1, use * 100, requests, exponential_answers=True)
    stay = float(np.mean([r.done - r.arrived for r in run]))
    return Check(f"least of two queues at {use}: mean stay", stay, stay_of_two_choices(use))


def lru(skew: float, requests: int) -> Check:
    """What a replica has in memory, at a demand so low that no expert is in use."""
    experts, places = 2000, 100
    site = Site(1, experts, Room(EVERYTHING, 1, places, EVERYTHING), Costs(1e-6, 1e-6, 0))
    demand = Demand(rate=1.0, skew=skew, requests=requests, before=requests // 2)
    found = hits(simulate(site, demand, POLICIES["random"]).requests)
    return Check(
        f"LRU, {places} of {experts} by Zipf {skew}: hits",
        found["slot"] + found["memory"],
        lru_hits(zipf(experts, skew), places),
    )


def queue(
    replicas: int, seats: int, rate: float, count: int, *, exponential_answers: bool
) -> list[Request]:
    """Requests, all of them, whose service takes a second on average: generation or reading.

    What is drawn is scaled to its mean, since a queue's length depends on it so much.
    """
    draw = np.random.default_rng(0)
    arrivals = np.cumsum(_scaled(draw.exponential(1, count))) / rate
    if exponential_answers:
        prompts, answers = np.zeros(count), 1 + _scaled(draw.exponential(1, count))
    else:
        prompts, answers = _scaled(draw.gamma(2.0, 0.5, count)), np.ones(count)
    rows = zip(arrivals.tolist(), prompts.tolist(), answers.tolist(), strict=True)
    requests = [Request(at, 0, prompt, answer) for at, prompt, answer in rows]
    costs = Costs(prompt_token_s=1.0, step_s=1.0, step_request_s=0.0)
    site = Site(replicas, 1, Room(seats, 1, 1, 1), costs)
    demand = Demand(rate=rate, before=100 * replicas)
    simulate(site, demand, POLICIES["least of two"], requests=requests)
    return requests


def _scaled(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    return drawn / drawn.mean()
