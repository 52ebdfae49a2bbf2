"""What each agent has used of its tokens, in the period at hand.

Counted in memory for every answer, direct or of a batch. Whoever keeps it (`jobs.store`) takes what
has come since and gives back what an earlier process had saved; a killed server forgets what came
in the last second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
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

    def require_left(self, tenant: str | None) -> None:
        """Raise BudgetError if the tenant has used up its tokens."""
        agent = self.agents.of(tenant)
        if agent.tokens is not None and (spent := self.spent(tenant)) >= agent.tokens:
            each = "an hour" if agent.period == "hour" else f"a {agent.period}"
            whose = tenant or "this server"
            what = f"{whose} has used {spent:,} of its {agent.tokens:,} tokens {each}"
            raise BudgetError(
                Problem("tokens", what, f"ask again in the next {agent.period} (UTC)")
            )

    def take_unsaved(self) -> Counter[Entry]:
        """What was added since this was last called."""
        taken, self._unsaved = self._unsaved, Counter()
        return taken

    def _entry(self, tenant: str | None) -> Entry:
        return tenant or NOBODY, self.agents.of(tenant).period_at(self.clock())
