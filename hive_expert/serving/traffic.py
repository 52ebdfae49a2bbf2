"""How many requests are in the server, and whose: more are turned away, with a time to come back.

vLLM queues without end. A queue that is longer than clients wait helps nobody: their answers come
after they have gone.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_RETRY_AFTER_S = 30
_REMEMBERED = 32


@dataclass(frozen=True, slots=True)
class TrafficLimits:
    """How much may be in the server at once."""

    running: int = 64
    """Requests that the engine works on together."""
    waiting: int = 256
    """Requests that wait beside them."""
    per_tenant: int | None = None
    """Of one tenant, running and waiting."""


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """A request for which there is no room."""

    reason: str
    """In a word, for the metrics."""
    status: int
    message: str
    retry_after_s: int


@dataclass
class Traffic:
    """Counts requests that ask a model.

    Law: `present` is the number of `enter` that were let in without their `leave`, and never
    exceeds the limits.
    """

    limits: TrafficLimits = field(default_factory=TrafficLimits)
    draining: bool = False
    """The server is about to stop: nobody enters any more."""
    clock: Callable[[], float] = time.monotonic
    present: int = 0
    _by_tenant: Counter[str | None] = field(default_factory=Counter)
    _departures: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @property
    def waiting(self) -> int:
        """Requests beyond those that the engine can work on together."""
        return max(0, self.present - self.limits.running)

    @property
    def direct(self) -> int:
        """Requests that a client waits for; all others are batches'."""
        return self._by_tenant.total()

    def enter(self, tenant: str | None, *, job: bool = False) -> TurnedAway | None:
        """Let a request in, or say why not. Whoever is let in must `leave`.

        Args:
            job: a batch's, of which there are as many as its dispatcher finds room for: no tenant's
                limit counts it.
        """
        limits = self.limits
        if self.draining:
            return self._turn_away("draining", 503, "The server is about to stop.")
        if self.present >= limits.running + limits.waiting:
            what = f"{self.waiting} requests are waiting already."
            return self._turn_away("full", 503, what)
        if job:
            self.present += 1
            return None
        if limits.per_tenant is not None and self._by_tenant[tenant] >= limits.per_tenant:
            what = f"This key has {limits.per_tenant} requests in the server already."
            return self._turn_away("tenant", 429, what)
        self.present += 1
        self._by_tenant[tenant] += 1
        return None

    def leave(self, tenant: str | None, *, job: bool = False) -> None:
        """A request that was let in is done, however it ended."""
        self.present -= 1
        if job:
            self._departures.append(self.clock())
            return
        self._by_tenant[tenant] -= 1
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]
        self._departures.append(self.clock())

    def _turn_away(self, reason: str, status: int, message: str) -> TurnedAway:
        return TurnedAway(reason, status, message, self._retry_after_s())

    def _retry_after_s(self) -> int:
        """When half of those who wait should be done, at the pace of the last departures."""
        if len(self._departures) < 2:
            return 1
        pace = (self.clock() - self._departures[0]) / (len(self._departures) - 1)
        return max(1, min(MAX_RETRY_AFTER_S, math.ceil(pace * self.waiting / 2)))
