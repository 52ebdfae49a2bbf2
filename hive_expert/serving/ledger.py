"""What each agent has used of its tokens, in the period at hand.

Counted in memory for every answer, direct or of a batch; with replicas it is the front's that
decides, and counts what they tell it (`replicas.account`). A server that keeps jobs saves what has
come since together with the answers of batches, or after five seconds without any
(`jobs.recorder`): no more than that a killed server forgets. One without jobs saves nothing, and
begins each period anew when it starts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hive_expert.errors import BudgetError, Problem
from hive_expert.serving.agents import NOBODY, Agents

Entry = tuple[str, str]
"""An agent, and the name of a period."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Ledger:
    """Tokens by agent and period.

    Law: what is spent in a period is the sum of what was restored of it and what was added to it
    since.
    """

    agents: Agents = field(default_factory=Agents)
    clock: Callable[[], datetime] = _now
    _spent: Counter[Entry] = field(default_factory=Counter)
    _unsaved: Counter[Entry] = field(default_factory=Counter)

    def restore(self, saved: Mapping[Entry, int]) -> None:
        """Add what an earlier process had saved."""
        self._spent.update(saved)

    def add(self, tenant: str | None, tokens: int) -> None:
        """Count an answer's tokens."""
        if tokens:
            entry = self._entry(tenant)
            self._spent[entry] += tokens
            self._unsaved[entry] += tokens

    def spent(self, tenant: str | None) -> int:
        """In the period at hand."""
        return self._spent[self._entry(tenant)]

    def accounts(self) -> Iterator[tuple[str, int, int | None]]:
        """Each agent that has used tokens in the period at hand: how many, and how many it may."""
        for tenant, period in list(self._spent):
            agent = self.agents.of(tenant)
            if period == agent.period_at(self.clock()):
                yield tenant, self._spent[tenant, period], agent.tokens

    def require_left(self, tenant: str | None) -> None:
        """Raise BudgetError if the tenant has used up its tokens."""
        agent = self.agents.of(tenant)
        if agent.tokens is not None and (spent := self.spent(tenant)) >= agent.tokens:
            each = "an hour" if agent.period == "hour" else f"a {agent.period}"
            whose = tenant or "this server"
            what = f"{whose} has used {spent:,} of its {agent.tokens:,} tokens {each}"
            now = self.clock()
            raise BudgetError(
                Problem("tokens", what, f"ask again in the next {agent.period} (UTC)"),
                again_s=math.ceil((agent.period_end(now) - now).total_seconds()),
            )

    def take_unsaved(self) -> Counter[Entry]:
        """What was added since this was last called."""
        taken, self._unsaved = self._unsaved, Counter()
        return taken

    def give_back(self, taken: Mapping[Entry, int]) -> None:
        """Have what was taken taken once more: it could not be saved."""
        self._unsaved.update(taken)

    def _entry(self, tenant: str | None) -> Entry:
        return tenant or NOBODY, self.agents.of(tenant).period_at(self.clock())
