"""One replica of the simulation: an engine with a batch, and experts in slots, memory, on disk.

The engine does one of three things at a time, in this order of preference: it brings an expert
from disk into memory, it reads one request's prompt, or it generates, where every step gives each
request of the batch a token. Generation is computed as a fluid: all requests of a batch advance
alike, at `1 / Costs.step(n)` tokens a second, so only beginnings and ends are events. Against vLLM
this leaves out that steps which read a prompt give the batch a token as well.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from cluster_costs import Costs

EPSILON = 1e-6
"""Of a token: what rounding may leave of a request."""


class Tier(IntEnum):
    """Where a request finds its expert."""

    SLOT = 0
    MEMORY = 1
    DISK = 2
    STORE = 3


@dataclass(frozen=True)
class Room:
    """What one replica holds."""

    seats: int
    """Requests in a batch."""
    slots: int
    """Experts in a batch."""
    memory: int
    """Experts in memory, those in slots among them."""
    disk: int
    """Packages."""


class Request:
    """Times are seconds since the start; `first` and `done` are NaN until then."""

    __slots__ = (
        "answer",
        "arrived",
        "done",
        "expert",
        "first",
        "found",
        "lost",
        "prompt",
        "replica",
    )

    def __init__(self, arrived: float, expert: int, prompt: float, answer: float) -> None:
        self.arrived, self.expert, self.prompt, self.answer = arrived, expert, prompt, answer
        self.first = self.done = math.nan
        self.found = Tier.SLOT
        self.replica = -1
        self.lost = False
        """Its replica died when it had part of its answer."""


class Replica:
    """Tells by `next` when it wants to be stepped; who calls it gives the time."""

    def __init__(self, costs: Costs, room: Room, forgotten: Callable[[int], None]) -> None:
        """`forgotten` is told each expert that leaves the memory."""
        self.costs, self.room, self._forgotten = costs, room, forgotten
        self.disk: OrderedDict[int, None] = OrderedDict()
        self._empty()

    def _empty(self) -> None:
        self.next = math.inf
        self.slots: OrderedDict[int, int] = OrderedDict()
        """Requests of the batch by expert, the one that was taken longest ago first."""
        self.memory: OrderedDict[int, None] = OrderedDict()
        self.requests: set[Request] = set()
        """In its hands."""
        self._held: Counter[int] = Counter()
        self._waiting: deque[Request] = deque()
        self._coming: dict[int, tuple[Tier, list[Request]]] = {}
        """Requests by the expert they wait for, and where that comes from."""
        self._loads: deque[int] = deque()
        self._loading: int | None = None
        self._reading: Request | None = None
        self._batch: list[tuple[float, int, Request]] = []
        """With the number of tokens after which each is done."""
        self._tokens = 0.0
        """Generated so far for a request that was always there."""
        self._since = 0.0
        self._number = 0

    def take(self, request: Request, now: float) -> bool:
        """A request arrives. True if its package has to be fetched: `fetched` says when it is."""
        expert = request.expert
        self.requests.add(request)
        self._held[expert] += 1
        if expert in self._coming:
            request.found, waiting = self._coming[expert]
            waiting.append(request)
            return False
        request.found = self.touch(expert)
        if request.found > Tier.MEMORY:
            self._coming[expert] = (request.found, [request])
            if request.found is Tier.STORE:
                return True
            self._loads.append(expert)
        else:
            self._waiting.append(request)
        self._wake(now)
        return False

    def fetched(self, expert: int, now: float) -> None:
        """A package has come from the store."""
        self._keep(expert)
        if expert in self._coming:
            self._loads.append(expert)
            self._wake(now)

    def step(self, now: float) -> list[Request]:
        """What was under way at `next` is done; the requests that are complete by that."""
        done: list[Request] = []
        if self._loading is not None:
            expert, self._loading = self._loading, None
            self.remember(expert)
            self._waiting.extend(self._coming.pop(expert)[1])
        elif self._reading is not None:
            request, self._reading = self._reading, None
            request.first = now
            if request.answer <= 1:
                done.append(request)
            else:
                self._number += 1
                end = self._tokens + request.answer - 1
                heapq.heappush(self._batch, (end, self._number, request))
        else:
            self._generate(now)
            self._tokens = max(self._tokens, self._batch[0][0])  # that is what `next` was
            while self._batch and self._batch[0][0] <= self._tokens + EPSILON:
                done.append(heapq.heappop(self._batch)[2])
        for request in done:
            self._let_go(request, now)
        self._begin(now)
        return done

    def die(self) -> list[Request]:
        """Forgets everything but the disk; what it had in its hands."""
        requests = sorted(self.requests, key=lambda request: request.arrived)
        self._empty()
        return requests

    def touch(self, expert: int) -> Tier:
        """Where the expert is; it counts as used just now."""
        if expert in self.disk:
            self.disk.move_to_end(expert)
        if expert in self.memory:
            self.memory.move_to_end(expert)
            return Tier.SLOT if expert in self.slots else Tier.MEMORY
        return Tier.DISK if expert in self.disk else Tier.STORE

    def remember(self, expert: int) -> None:
        """Into memory, where the one that was used longest ago and by nobody now makes room."""
        self._keep(expert)
        self.memory[expert] = None
        while len(self.memory) > self.room.memory:
            held = self._held
            oldest = next((e for e in self.memory if not held[e] and e != expert), None)
            if oldest is None:
                break
            del self.memory[oldest]
            self.slots.pop(oldest, None)
            self._forgotten(oldest)

    def _keep(self, expert: int) -> None:
        self.disk[expert] = None
        self.disk.move_to_end(expert)
        if len(self.disk) > self.room.disk:
            self.disk.popitem(last=False)

    def _wake(self, now: float) -> None:
        """Something new: generation makes way for it, a load or a prompt is finished first."""
        if self._loading is None and self._reading is None:
            self._generate(now)
            self._begin(now)

    def _begin(self, now: float) -> None:
        self._since = now
        if self._loads:
            self._loading = self._loads.popleft()
            self.next = now + self.costs.load_s
        elif (admitted := self._admit()) is not None:
            self._reading, activated = admitted
            seconds = self._reading.prompt * self.costs.prompt_token_s
            self.next = now + seconds + (self.costs.activate_s if activated else 0.0)
        elif self._batch:
            left = max(0.0, self._batch[0][0] - self._tokens)
            self.next = now + left * self.costs.step(len(self._batch))
        else:
            self.next = math.inf

    def _generate(self, now: float) -> None:
        if self._batch:
            self._tokens += (now - self._since) / self.costs.step(len(self._batch))
        self._since = now

    def _admit(self) -> tuple[Request, bool] | None:
        """The first that has a seat and a slot, and whether its expert comes into one by that."""
        if len(self._batch) >= self.room.seats:
            return None
        for place, request in enumerate(self._waiting):
            expert = request.expert
            known = expert in self.slots
            if known or self._free_slot():
                self.slots[expert] = self.slots.get(expert, 0) + 1
                self.slots.move_to_end(expert)
                del self._waiting[place]
                return request, not known
        return None

    def _free_slot(self) -> bool:
        if len(self.slots) < self.room.slots:
            return True
        idle = next((expert for expert, requests in self.slots.items() if not requests), None)
        if idle is not None:
            del self.slots[idle]
        return idle is not None

    def _let_go(self, request: Request, now: float) -> None:
        request.done = now
        self.requests.discard(request)
        self.slots[request.expert] -= 1
        self._held[request.expert] -= 1
        if not self._held[request.expert]:
            del self._held[request.expert]
