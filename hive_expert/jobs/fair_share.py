"""Whose request is next: agents get tokens in proportion to their weights. SPEC section 14.

Start-time fair queueing: each agent has a clock that its tokens, divided by its weight, drive on;
the one whose clock is furthest behind is next. How many tokens a request will take is not known
when it starts, so what its agent's last ones took is charged, and set right at its end. An
agent that comes back after a pause starts at the clock of those who are at work: a pause earns
nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

FIRST_GUESS = 100.0
"""Tokens of an agent's first request."""

_MEMORY = 0.8
"""How much of a guess stays when a request has told better."""


@dataclass
class FairShare:
    """Clocks of agents.

    Law: while the same agents always have requests ready, the tokens of any two differ from the
    ratio of their weights by no more than what they have running at once.
    """

    weight: Callable[[str], float]
    _clock: dict[str, float] = field(default_factory=dict)
    _guess: dict[str, float] = field(default_factory=dict)
    _running: Counter[str] = field(default_factory=Counter)
    _active: set[str] = field(default_factory=set)

    def next_of(self, ready: Collection[str]) -> str:
        """Which of the agents with a request ready goes first."""
        self._welcome(ready)
        return min(ready, key=lambda agent: (self._clock[agent], agent))

    def start(self, agent: str) -> float:
        """Charge a request that starts; what was charged goes to `end`."""
        charged = self._guess.get(agent, FIRST_GUESS)
        self._clock[agent] = self._clock.get(agent, 0.0) + charged / self.weight(agent)
        self._running[agent] += 1
        return charged

    def end(self, agent: str, charged: float, tokens: int) -> None:
        """Set right what was charged for a request, once it is known what it took."""
        self._clock[agent] += (tokens - charged) / self.weight(agent)
        self._running[agent] -= 1
        if tokens:
            guess = self._guess.get(agent, float(tokens))
            self._guess[agent] = _MEMORY * guess + (1 - _MEMORY) * tokens

    def _welcome(self, ready: Collection[str]) -> None:
        present = {*ready, *(agent for agent, count in self._running.items() if count)}
        staying = [self._clock[agent] for agent in self._active & present]
        for agent in present - self._active:
            at_least = min(staying, default=0.0)
            self._clock[agent] = max(self._clock.get(agent, 0.0), at_least)
        self._active = present
