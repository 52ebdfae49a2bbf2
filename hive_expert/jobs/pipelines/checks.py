"""Whether a step's answer is what the step says it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from hive_expert.decoding.child import BusyError, Child, ChildError
from hive_expert.decoding.validators import Check
from hive_expert.jobs.pipelines.model import Step

LIMIT_S = 2.0
"""Processor time for one answer."""
AT_ONCE = 8
"""Answers that wait for the child: others check theirs there too."""
BUSY_TRIES = 5
EXPERTS_OWN = "x-hive-validation"


@dataclass
class Checker:
    """Checks answers; parsers and schemas run in a child process that can be killed."""

    child: Child = field(default_factory=lambda: Child("hive_expert.decoding.validate_child"))
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def verdict(self, step: Step, answer: str, headers: Mapping[str, str]) -> str:
        """`passed`, `failed: <reason>`, `not checked: <reason>`, or nothing if none is asked for.

        Args:
            headers: of the answer; what its expert's own check has found counts as well.
        """
        own = headers.get(EXPERTS_OWN, "")
        if own.startswith("failed"):
            return f"failed: the expert's own check: {own.removeprefix('failed: ')}"
        if step.choices is not None:
            said = answer.strip() in step.choices
            return "passed" if said else "failed: none of the choices"
        if step.kind == "text":
            return own
        schema = None if step.json_schema is None else json.dumps(step.json_schema)
        return await self._asked(Check(step.kind, step.dialect, schema), answer)

    async def close(self) -> None:
        await self.child.close()

    async def _asked(self, check: Check, answer: str) -> str:
        async with self._places:
            for attempt in range(BUSY_TRIES):
                try:
                    told = await self.child.ask(check.message(answer), limit_s=LIMIT_S)
                except BusyError as busy:
                    if attempt + 1 == BUSY_TRIES:
                        return f"not checked: {busy}"
                    await asyncio.sleep(2**attempt)
                except ChildError as failure:
                    # What a checker cannot finish is nothing that a later step should build on.
                    return f"failed: {failure}"
                else:
                    reason = told["reason"]
                    return "passed" if reason is None else f"failed: {reason}"
        raise AssertionError  # the loop returns
