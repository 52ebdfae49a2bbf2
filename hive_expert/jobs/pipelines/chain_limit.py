"""How long a chain of steps an expert goes into: `constraints.max_chain` of its manifest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from hive_expert.errors import HiveError
from hive_expert.jobs.pipelines.limits import MAX_CHAIN

ChainLimit = Callable[[str], Awaitable[int]]
"""A step's `model` → the longest chain that all experts in it go into."""


async def no_limit(_model: str) -> int:
    """Where no expert says anything."""
    return MAX_CHAIN


def chain_limit_of(state: Any) -> ChainLimit:
    """The limits of the experts that a server has; `state` is its application's."""
    hive = getattr(state, "hive", None)
    return no_limit if hive is None else _Served(hive).limit


class _Served:
    def __init__(self, hive: Any) -> None:
        self._hive = hive

    async def limit(self, model: str) -> int:
        # A server has it loaded; whoever only reads this module need not.
        from hive_expert.catalog.composition import find_experts

        try:
            await self._hive.supply.require(model)
            parts = find_experts(self._hive.catalog, model).parts
        except HiveError:
            # The base, `auto`, or a name that its step will be told about.
            return MAX_CHAIN
        stated = [part.expert.manifest.constraints for part in parts]
        return min((s.max_chain or MAX_CHAIN for s in stated if s is not None), default=MAX_CHAIN)
