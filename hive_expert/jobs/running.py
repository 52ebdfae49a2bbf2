"""A batch whose requests are handed out."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from hive_expert.jobs.batch import Batch
from hive_expert.jobs.request_rows import Pending


@dataclass
class Running:
    """Where its requests are.

    Law: each request that is known is in `ready`, among the `unsettled`, or written down.
    """

    batch: Batch
    input: Path
    left: int
    """Requests that have no answer yet, known or not."""
    ready: deque[tuple[Pending, int]] = field(default_factory=deque)
    """Requests and how often each was asked."""
    known_to: int = 0
    """The last line that was read."""
    all_known: bool = False
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    unsettled: int = 0
    """Handed out, and not written down yet or waiting to be asked again."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: bool = False

    @property
    def agent(self) -> str:
        return self.batch.agent

    @property
    def waiting(self) -> int:
        """Requests that nobody works on."""
        return 0 if self.stopped else self.left - self.unsettled

    def settle(self) -> None:
        """One of the unsettled is written down."""
        self.left -= 1
        self.unsettled -= 1
        self.look()

    def look(self) -> None:
        """See whether all of it is answered."""
        if self.stopped or (self.all_known and not self.ready and not self.unsettled):
            self.over.set()
