"""Tokens on their way from the engines to the front, which alone knows what each agent has left.

A replica adds up what its server tells it (`serving.front_link`), and says with each answer, and
whenever it is asked, how many tokens that makes by now for an agent. A sum that is not heard is in
the next one, and one that is heard twice says nothing new.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

from hive_expert.replicas.relay import Spent
from hive_expert.serving.front_link import read_bill
from hive_expert.serving.ledger import Ledger

SETTLE_LIMIT_S = 1.0
"""For a server to tell what a request has cost whose answer has ended: usually it does so before
that is read. What it tells later is in the next sum."""


@dataclass(eq=False)
class Entry:
    """One request that a front has made."""

    number: int
    front: str
    agent: str = ""
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Account:
    """What requests have cost in one replica.

    Law: a sum is of all requests of an agent that have ended, since the front that it is for first
    asked. Another front, which comes in the place of one that died, begins at zero: it need not
    know what that one had counted.
    """

    replica: str
    _sums: dict[str, Counter[str]] = field(default_factory=dict)
    """Front → agent → tokens."""
    _open: dict[int, Entry] = field(default_factory=dict)
    _front: str = ""
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _unread: bytes = b""

    def begin(self, front: str) -> Entry:
        """A request that a front makes now."""
        self._front = front
        entry = Entry(next(self._numbers), front)
        self._open[entry.number] = entry
        return entry

    def read(self, data: bytes) -> None:
        """Add up what the server tells."""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for bill in map(read_bill, lines):
            entry = None if bill.number is None else self._open.pop(bill.number, None)
            # Who comes past the front spends its tokens, too.
            front = self._front if entry is None else entry.front
            self._sums.setdefault(front, Counter())[bill.agent] += bill.tokens
            if entry is not None:
                entry.agent = bill.agent
                entry.ended.set()

    async def settled(self, entry: Entry) -> Spent | None:
        """The sum with a request whose answer has ended; None if the server does not tell it."""
        try:
            async with asyncio.timeout(SETTLE_LIMIT_S):
                await entry.ended.wait()
        except TimeoutError:
            return None
        return Spent(self.replica, entry.agent, self._sums[entry.front][entry.agent])

    def sums(self, front: str) -> list[Spent]:
        """All sums for a front."""
        sums = self._sums.get(front, Counter())
        return [Spent(self.replica, agent, tokens) for agent, tokens in sums.items()]


@dataclass
class Counted:
    """What a front has counted of these sums.

    Law: a token is added to the ledger once, however often and in whatever order sums are heard.
    """

    ledger: Ledger
    _known: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, spent: Spent) -> None:
        """Add to the ledger what is new in a sum."""
        key = spent.replica, spent.agent
        new = spent.tokens - self._known.get(key, 0)
        if new > 0:
            self._known[key] = spent.tokens
            self.ledger.add(spent.agent, new)
