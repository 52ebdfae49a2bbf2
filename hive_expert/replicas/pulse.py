"""Whether any replica is up, found out for many who ask at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Pulse:
    """What `look` says, remembered for a moment.

    Everybody may ask for `/health`, without a key, and each look is a request to every replica.

    Law: one look at a time, and none within `every_s` after the end of another.
    """

    look: Callable[[], Awaitable[bool]]
    every_s: float = 0.5
    clock: Callable[[], float] = time.monotonic
    _felt: bool = False
    _until: float = float("-inf")
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def felt(self) -> bool:
        """Whether any replica is up."""
        async with self._turn:
            if self.clock() >= self._until:
                self._felt = await self.look()
                self._until = self.clock() + self.every_s
            return self._felt
