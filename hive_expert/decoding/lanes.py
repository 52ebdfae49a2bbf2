"""Two children for one kind of job, so that nobody whose job is short waits for a long one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hive_expert.decoding.child import TooSlowError

SHORT_S = 1.0
"""Of the processor. The grammars of shipped experts take up to a tenth of it, schemas of 900
properties or texts of 64 KB three times as long."""


class Asked(Protocol):
    """What is used of :class:`hive_expert.decoding.child.Child`."""

    async def ask(self, message: Mapping[str, Any], *, limit_s: float) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Lanes:
    """A child itself, of two.

    Laws: a job has the limit that it is given, whichever child it ends in; it holds up others'
    short jobs for ``SHORT_S`` at most.
    """

    short: Asked
    long: Asked
    """Gets what the other had to give up, from its beginning."""

    async def ask(self, message: Mapping[str, Any], *, limit_s: float) -> dict[str, Any]:
        """The answer. Raises ChildError as `Child.ask` does."""
        if limit_s <= SHORT_S:
            return await self.short.ask(message, limit_s=limit_s)
        try:
            return await self.short.ask(message, limit_s=SHORT_S)
        except TooSlowError:
            return await self.long.ask(message, limit_s=limit_s)
