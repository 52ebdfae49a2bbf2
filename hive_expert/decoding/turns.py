"""Who is next where many wait for one thing: owners take turns, so that none starves the others."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextvars import ContextVar

OWNER: ContextVar[str | None] = ContextVar("owner", default=None)
"""On whose behalf the running task works: a tenant's name; None where nobody is told apart."""


class Turns:
    """A lock for many owners.

    Laws: one holder at a time; while several owners wait, each has one turn before any has its
    second; the turns of one owner come in the order of its calls.
    """

    def __init__(self) -> None:
        self._held = False
        # The owner whose turn is next stands first.
        self._waiting: OrderedDict[str | None, deque[asyncio.Future[None]]] = OrderedDict()

    def waiting(self, owner: str | None) -> int:
        """How many wait on behalf of an owner."""
        return len(self._waiting.get(owner, ()))

    @property
    def all_waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def acquire(self, owner: str | None) -> None:
        """Wait for a turn; :meth:`release` ends it."""
        if not self._held:
            self._held = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(owner, turn)
            else:
                self.release()
            raise

    def release(self) -> None:
        """Hand the turn on."""
        if not self._waiting:
            self._held = False
            return
        owner, waiting = self._waiting.popitem(last=False)
        turn = waiting.popleft()
        if waiting:
            self._waiting[owner] = waiting
        if turn.done():  # cancelled, and on its way out
            self.release()
        else:
            turn.set_result(None)

    def _leave(self, owner: str | None, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(owner)
        if waiting is not None and turn in waiting:
            waiting.remove(turn)
            if not waiting:
                del self._waiting[owner]
