"""How many tokens an engine computes in a given time, by the steps it has done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

LEAST_TOKENS = 64
"""Smaller steps say little: what a step costs by itself weighs too much in them."""

NEWEST = 0.2
"""Weight of the last step beside all before."""


@dataclass
class Pace:
    """Law: what it says lies between the slowest and the fastest step it has seen; 0 before any.

    A step is known by its plan, whatever that is: engines may begin one before the last is done.
    """

    clock: Callable[[], float] = time.monotonic
    _begun: deque[tuple[object, float]] = field(default_factory=lambda: deque(maxlen=8))
    _rate: float = 0.0

    def begun(self, plan: object) -> None:
        self._begun.append((plan, self.clock()))

    def done(self, plan: object, tokens: int) -> None:
        """A step is computed; those that were begun before it and are not done never will be."""
        while self._begun:
            begun, at = self._begun.popleft()
            if begun is not plan:
                continue
            seconds = self.clock() - at
            if tokens >= LEAST_TOKENS and seconds > 0:
                rate = tokens / seconds
                self._rate += (rate - self._rate) * (NEWEST if self._rate else 1)
            return

    def tokens_in(self, seconds: float) -> int:
        return int(self._rate * seconds)
