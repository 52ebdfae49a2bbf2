"""How long a chain of a pipeline's steps an expert goes into, as the replicas know it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from hive_expert.catalog.composition import names_in
from hive_expert.errors import EngineError, HiveError, Problem
from hive_expert.jobs.pipelines.limits import MAX_CHAIN
from hive_expert.replicas.front import Front
from hive_expert.replicas.relay import Relayed
from hive_expert.serving.agents import PriorityClass
from hive_expert.serving.auth import Caller

KEPT_S = 5.0
"""How long an answer is remembered: every document of a pipeline asks for the same experts."""
MOST_KEPT = 1024

_ASKING = Caller(None, admin=False, job=PriorityClass.BATCH)


@dataclass
class ChainLimits:
    """A `jobs.pipelines.chain_limit.ChainLimit`."""

    front: Front
    clock: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[float, int]] = field(default_factory=dict)

    async def limit(self, model: str) -> int:
        """The longest chain that all experts go into which a step's `model` names.

        Raises:
            EngineError: no replica says so.
        """
        try:
            names = names_in(model)
        except HiveError:
            return MAX_CHAIN  # what is wrong with it, its step will be told
        return min([await self._of(name) for name in names])

    async def _of(self, name: str) -> int:
        known = self._known.get(name)
        if known is not None and self.clock() - known[0] < KEPT_S:
            return known[1]
        found = await self._asked(name)
        if len(self._known) >= MOST_KEPT:
            self._known.clear()
        self._known[name] = self.clock(), found
        return found

    async def _asked(self, name: str) -> int:
        target = f"/v1/experts/{quote(name, safe='')}"
        answer = await self.front.asked(Relayed("GET", target, errand=_ASKING))
        if 400 <= answer.head.status < 500:
            return MAX_CHAIN  # the base, `auto`, or a name that its step will be told about
        if answer.head.status != 200:
            raise EngineError(Problem("replica", f"does not tell about {name}", "ask again"))
        constraints = json.loads(answer.body)["constraints"]
        return int(constraints.get("max_chain") or MAX_CHAIN)
