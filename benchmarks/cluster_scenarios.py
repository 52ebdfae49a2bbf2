"""What `cluster.py` asks of the simulation: each function is one table of its result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from cluster_costs import Costs
from cluster_outcome import PATIENCE_S, outcome, windows
from cluster_policies import POLICIES, Make, affinity
from cluster_replica import Room
from cluster_simulation import Demand, Failure, Site, simulate
from cluster_theory import best_hits, lru_hits, zipf

Table = dict[str, dict[str, Any]]
Tell = Callable[[str], None]

LOAD = 0.5
"""Of what all replicas can do with full batches, where nothing else is said."""
LOADS = (0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
BEST = "affinity, homes"
FRONT_USE = 0.5
"""Of the front's processes, as many as that takes."""


@dataclass(frozen=True)
class Sizes:
    replicas: int
    experts: int
    requests: int
    before: int


FULL = Sizes(replicas=100, experts=10_000, requests=30_000, before=100_000)
QUICK = Sizes(replicas=20, experts=2_000, requests=8_000, before=20_000)


@dataclass(frozen=True)
class World:
    """A site of some size, and the demand that is a given share of its capacity."""

    costs: Costs
    sizes: Sizes
    tell: Tell

    def site(self, load: float = LOAD, **changes: Any) -> Site:
        """With hive-serve's limits (64 requests, 8 slots), memory for 64 experts (0.6 GB) and a
        disk for a tenth of all packages."""
        sizes = self.sizes
        room = Room(seats=64, slots=8, memory=64, disk=sizes.experts // 10)
        site = Site(sizes.replicas, sizes.experts, room, self.costs)
        site = replace(site, **changes)
        return replace(site, fronts=fronts(site, self.demand(site, load)))

    def demand(self, site: Site, load: float = LOAD, **changes: Any) -> Demand:
        demand = Demand(1.0, requests=self.sizes.requests, before=self.sizes.before)
        demand = replace(demand, **changes)
        return replace(demand, rate=load * capacity(site, demand))

    def run(self, make: Make, site: Site, load: float = LOAD, **changes: Any) -> dict[str, Any]:
        return asdict(outcome(simulate(site, self.demand(site, load, **changes), make)))


def capacity(site: Site, demand: Demand) -> float:
    """Requests a second of all replicas with full batches, their experts at hand."""
    alone = site.costs.request_s(demand.prompt, demand.answer, site.room.seats)
    return site.replicas / alone


def fronts(site: Site, demand: Demand) -> int:
    """Processes that the front needs."""
    return max(1, math.ceil(demand.rate * site.front_s(demand.answer) / FRONT_USE))


def policies(world: World) -> dict[str, Table]:
    """Each policy at growing loads, up to the first at which it no longer answers in time."""
    found: dict[str, Table] = {}
    for name, make in POLICIES.items():
        found[name] = {}
        for load in LOADS:
            world.tell(f"{name} at load {load}")
            result = world.run(make, world.site(load), load)
            found[name][str(load)] = result
            if not in_time(result) and load >= LOAD:
                break
    return found


def in_time(result: dict[str, Any]) -> bool:
    return bool(result["ttft_p99"] <= PATIENCE_S)


def skews(world: World) -> dict[str, Table]:
    """How unequal the demand is."""
    return {
        name: {
            str(skew): world.run(POLICIES[name], world.site(), skew=skew)
            for skew in _told(world, f"{name}: Zipf", (0.6, 0.8, 1.0, 1.2))
        }
        for name in ("least of two", BEST)
    }


def memories(world: World) -> dict[str, Table]:
    """How many experts a replica has in memory; theory's figures beside the simulated ones."""
    site = world.site()
    popularity = zipf(site.experts, 1.0)
    found: dict[str, Table] = {"theory": {}}
    sizes = [max(8, site.experts * share // 10_000) for share in (16, 32, 64, 128, 256)]
    for places in sizes:
        found["theory"][str(places)] = {
            "each replica alone": lru_hits(popularity, places),
            "all as one memory": lru_hits(popularity, places * site.replicas),
        }
    for name in ("least of two", "affinity", BEST):
        found[name] = {
            str(places): world.run(
                POLICIES[name], replace(site, room=replace(site.room, memory=places))
            )
            for places in _told(world, f"{name}: memory for", sizes)
        }
    return found


def slots(world: World) -> dict[str, Table]:
    """How many experts a batch may have."""
    site = world.site()
    return {
        name: {
            str(count): world.run(
                POLICIES[name], replace(site, room=replace(site.room, slots=count))
            )
            for count in _told(world, f"{name}: slots", (4, 8, 16, 32))
        }
        for name in ("least of two", BEST)
    }


def rooms(world: World) -> Table:
    """Ray Serve's `max_ongoing_requests`: when a wanted expert gets another replica."""
    return {
        str(most): world.run(affinity(most), world.site())
        for most in _told(world, "max_ongoing_requests", (4, 8, 16, 32, 64))
    }


def failures(world: World) -> Table:
    """One replica, and a tenth of all, die under load."""
    found: Table = {}
    site = world.site()
    for name in ("hashing, bounded", BEST):
        for count in (1, site.replicas // 10):
            world.tell(f"{name}: {count} die")
            demand = world.demand(site)
            run = simulate(site, demand, POLICIES[name], failure=Failure(count))
            found[f"{name}: {count}"] = asdict(outcome(run)) | {"windows": windows(run)}
    return found


def speeds(world: World) -> dict[str, Table]:
    """Replicas that are faster, as on GPUs (assumed, not measured): what the rest does then."""
    found: dict[str, Table] = {}
    for name in ("least of two", BEST):
        found[name] = {}
        for times in _told(world, f"{name}: replicas as fast", (1, 10, 50)):
            quicker = replace(world, costs=world.costs.slower(1 / times))
            site = quicker.site()
            found[name][str(times)] = quicker.run(POLICIES[name], site) | {"fronts": site.fronts}
    return found


def small(world: World) -> dict[str, Table]:
    """P18's setting: 2 replicas with a core each, 20 experts, 4 slots; in memory 4, 10 or all."""
    found: dict[str, Table] = {"theory": {}}
    costs = world.costs.slower(2)
    chosen = ("round robin", "least of two", "affinity", BEST)
    for skew in (0.8, 1.0, 1.2, 1.5, 2.0):
        popularity = zipf(20, skew)
        found["theory"][str(skew)] = {
            "best of 4 a replica": best_hits(popularity, 4),
            "best of 8": best_hits(popularity, 8),
            "LRU of 4": lru_hits(popularity, 4),
            "LRU of 8": lru_hits(popularity, 8),
        }
        for name in chosen:
            world.tell(f"P18: {name}, Zipf {skew}")
            for memory in (4, 10, 20):
                site = Site(2, 20, Room(64, 4, memory, 20), costs)
                row = world.run(POLICIES[name], site, skew=skew, requests=8_000, before=2_000)
                found.setdefault(f"{name}, memory {memory}", {})[str(skew)] = row
    return found


def limits(world: World, by_policy: dict[str, Table]) -> Table:
    """At which load each part reaches its limit, by what it has to do at `LOAD`.

    `tail` is the greatest load tried at which the policy answered in time.
    """
    site = world.site()
    demand = world.demand(site, 1.0)
    one_front = 1 / site.front_s(demand.answer)
    auto = 1 / replace(site, auto=True).front_s(demand.answer)
    found: Table = {
        "front": {
            "requests a second": demand.rate,
            "ms a request": 1000 * site.front_s(demand.answer),
            "ms a request, auto": 1000 * replace(site, auto=True).front_s(demand.answer),
            "one process": one_front / demand.rate,
            "one process, auto": auto / demand.rate,
        }
    }
    for name, table in by_policy.items():
        at_load = table[str(LOAD)]
        held = [float(load) for load, result in table.items() if in_time(result)]
        found[name] = {
            "hottest replica": LOAD / at_load["hottest"],
            "store": LOAD / at_load["store"] if at_load["store"] else math.inf,
            "tail": max(held, default=0.0),
        }
    return found


def _told(world: World, what: str, values: Iterable[int | float]) -> Iterable[Any]:
    for value in values:
        world.tell(f"{what} {value}")
        yield value
