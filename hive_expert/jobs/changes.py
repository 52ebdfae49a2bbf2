"""Tells whoever listens that something about a batch has changed; what, they ask the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Changes:
    """Listeners, each with the batches that have changed since it last looked.

    Law: a change that is told while a listener listens is in what it gets next.
    """

    told: int = 0
    """How often something was told."""
    _listeners: set[Listener] = field(default_factory=set)

    def tell(self, batch_id: str) -> None:
        """A batch has changed. In the event loop only."""
        self.told += 1
        for listener in self._listeners:
            listener.changed.add(batch_id)
            listener.some.set()

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    @property
    def listeners(self) -> int:
        return len(self._listeners)


@dataclass(eq=False)
class Listener:
    """One who listens."""

    changed: set[str] = field(default_factory=set)
    some: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self, seconds: float) -> set[str]:
        """What has changed since, once something has; empty when the time is over before."""
        try:
            async with asyncio.timeout(seconds):
                await self.some.wait()
        except TimeoutError:
            return set()
        self.some.clear()
        changed, self.changed = self.changed, set()
        return changed
