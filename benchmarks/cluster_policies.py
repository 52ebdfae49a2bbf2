"""Which replica gets a request: the policies that `cluster.py` compares.

All of them see what a front knows: how many requests each replica has in its hands, and which
replicas have an expert in memory or are bringing it there.
"""

from __future__ import annotations

import bisect
import hashlib
import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol


class View:
    """What the front knows of `replicas` replicas."""

    def __init__(self, replicas: int) -> None:
        self.loads = [0] * replicas
        """Requests in the hands of each."""
        self.total = 0
        self.live = list(range(replicas))
        self.dead: set[int] = set()
        self.holders: dict[int, list[int]] = defaultdict(list)
        """Replicas by the expert that they have in memory, or soon."""

    def sent(self, expert: int, replica: int) -> None:
        self.loads[replica] += 1
        self.total += 1
        if replica not in self.holders[expert]:
            self.holders[expert].append(replica)

    def ended(self, replica: int) -> None:
        self.loads[replica] -= 1
        self.total -= 1

    def dropped(self, expert: int, replica: int) -> None:
        if replica in self.holders[expert]:
            self.holders[expert].remove(replica)

    def died(self, replica: int) -> None:
        self.live.remove(replica)
        self.dead.add(replica)
        self.total -= self.loads[replica]
        self.loads[replica] = 0
        for holders in self.holders.values():
            if replica in holders:
                holders.remove(replica)

    def returned(self, replica: int) -> None:
        bisect.insort(self.live, replica)
        self.dead.discard(replica)


class Policy(Protocol):
    def choose(self, expert: int) -> int:
        """The replica, one of `View.live`."""


class AtRandom:
    def __init__(self, view: View, draw: random.Random) -> None:
        self._view, self._draw = view, draw

    def choose(self, expert: int) -> int:
        return self._draw.choice(self._view.live)


class RoundRobin:
    def __init__(self, view: View, draw: random.Random) -> None:
        self._view, self._turn = view, -1

    def choose(self, expert: int) -> int:
        self._turn = (self._turn + 1) % len(self._view.live)
        return self._view.live[self._turn]


class LeastLoaded:
    """Of all."""

    def __init__(self, view: View, draw: random.Random) -> None:
        self._view, self._draw = view, draw

    def choose(self, expert: int) -> int:
        loads = self._view.loads
        least = min(loads[replica] for replica in self._view.live)
        return self._draw.choice([r for r in self._view.live if loads[r] == least])


class LeastOfTwo:
    """Of two drawn at random."""

    def __init__(self, view: View, draw: random.Random) -> None:
        self._view, self._draw = view, draw

    def choose(self, expert: int) -> int:
        return least_of_two(self._view.live, self._view.loads, self._draw)


class Hashed:
    """Consistent hashing; with a bound (Mirrokni, Thorup and Zadimoghaddam) no replica gets more
    than `1 + slack` of the mean load, and what would be more goes to the next one on the ring."""

    POINTS = 64
    """Of each replica on the ring."""

    def __init__(self, view: View, draw: random.Random, slack: float = math.inf) -> None:
        self._view, self._slack = view, slack
        points = ((_point(f"replica {r}/{n}"), r) for r in view.live for n in range(self.POINTS))
        self._points, self._owners = zip(*sorted(points), strict=True)
        self._starts: dict[int, int] = {}

    def choose(self, expert: int) -> int:
        view, owners = self._view, self._owners
        bound = math.inf
        if self._slack < math.inf:
            bound = math.ceil((1 + self._slack) * (view.total + 1) / len(view.live))
        start = self._start(expert)
        for step in range(len(owners)):
            replica = owners[(start + step) % len(owners)]
            if view.loads[replica] < bound and replica not in view.dead:
                return replica
        raise AssertionError("by its definition the bound leaves room somewhere")

    def _start(self, expert: int) -> int:
        if expert not in self._starts:
            place = bisect.bisect(self._points, _point(f"expert {expert}"))
            self._starts[expert] = place % len(self._points)
        return self._starts[expert]


class Affinity:
    """As Ray Serve's model multiplexing: the less loaded of two replicas that have the expert and
    room; else of two of all, where it is loaded as well: so a wanted expert gets more replicas.

    A replica has room below `most` requests (Ray Serve's `max_ongoing_requests`), and, with
    `slack`, below `1 + slack` of the mean load, but always for `FEW`. With `homes`, which Ray Serve
    does not have, it is not two of all, but the next on the ring: there the package may be on disk
    already.
    """

    FEW = 2

    def __init__(
        self,
        view: View,
        draw: random.Random,
        *,
        most: float = math.inf,
        slack: float = math.inf,
        homes: bool = False,
    ) -> None:
        self._view, self._draw, self._most, self._slack = view, draw, most, slack
        self._ring = Hashed(view, draw, slack) if homes else None

    def choose(self, expert: int) -> int:
        view = self._view
        bound = self._most
        if self._slack < math.inf:
            mean = (view.total + 1) / len(view.live)
            bound = min(bound, max(self.FEW, (1 + self._slack) * mean))
        able = [replica for replica in view.holders[expert] if view.loads[replica] < bound]
        if self._ring is not None and not able:
            return self._ring.choose(expert)
        return least_of_two(able or view.live, view.loads, self._draw)


def least_of_two(replicas: Sequence[int], loads: Sequence[int], draw: random.Random) -> int:
    """The less loaded of two different ones drawn at random."""
    if len(replicas) == 1:
        return replicas[0]
    first = int(draw.random() * len(replicas))
    second = int(draw.random() * (len(replicas) - 1))
    one, other = replicas[first], replicas[second + (second >= first)]
    return one if loads[one] <= loads[other] else other


def _point(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


Make = Callable[[View, random.Random], Policy]

SEATS = 64
SLACK = 0.5
POLICIES: dict[str, Make] = {
    "random": AtRandom,
    "round robin": RoundRobin,
    "least loaded": LeastLoaded,
    "least of two": LeastOfTwo,
    "hashing": Hashed,
    "hashing, bounded": lambda view, draw: Hashed(view, draw, slack=SLACK),
    "affinity": lambda view, draw: Affinity(view, draw, most=SEATS),
    "affinity, spread": lambda view, draw: Affinity(view, draw, most=SEATS, slack=SLACK),
    "affinity, homes": lambda view, draw: Affinity(view, draw, most=SEATS, slack=SLACK, homes=True),
}
"""`affinity` gives an expert a second replica when the first has as many requests as it has seats;
`affinity, spread` when it has `SLACK` more than the mean; `affinity, homes` then at its home."""


def affinity(most: float) -> Make:
    """With room for so many requests in each replica."""
    return lambda view, draw: Affinity(view, draw, most=most)
