"""Which requests should meet on one replica: those for the same experts.

A replica then holds few experts, in slots, instead of every replica holding all of them in turn.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from hive_expert.catalog.composition import MAX_PARTS

AUTO = "auto"

_SEPARATOR = re.compile(r"\+(?=expert-)")
_NAME = re.compile(r"expert-[a-z0-9-]{1,57}")


def names_of(model: object) -> tuple[str, ...]:
    """The experts that a request's `model` names, without versions and weights, in order.

    Law: whatever is no name of an expert or a composition gives none; the order in which a
    composition is written makes no difference.
    """
    if not isinstance(model, str) or not model.startswith("expert-"):
        return ()
    parts = _SEPARATOR.split(model, maxsplit=MAX_PARTS)
    if len(parts) > MAX_PARTS:
        return ()
    plain = [re.split("[@#:]", part, maxsplit=1)[0] for part in parts]
    return tuple(sorted(set(plain))) if all(map(_NAME.fullmatch, plain)) else ()


def model_of(body: bytes) -> Any:
    """The `model` of a request; None where there is none to be read."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document.get("model") if isinstance(document, dict) else None


MOST_COMPOSITIONS = 1024
"""That are told apart. There are more of them than of experts, by far, and whoever may ask can ask
for one after another; those beyond meet on the replica of their first expert."""

Ask = Callable[[], Awaitable[frozenset[str]]]
"""Finds out the names of the experts that are served."""


@dataclass
class Known:
    """The names of the experts that are served, asked for when an unknown one is met.

    Ray Serve remembers every name that it has been asked to find: only those that exist may get
    there.
    """

    every_s: float = 1.0
    """Names that nobody knows make it ask no more often."""
    clock: Callable[[], float] = time.monotonic
    _names: frozenset[str] = frozenset()
    _asked: float = field(default=float("-inf"))
    _compositions: set[str] = field(default_factory=set)

    async def key(self, names: tuple[str, ...], ask: Ask) -> str:
        """What requests for these experts have in common; empty if one of them is not served."""
        if not names:
            return ""
        if not self._names.issuperset(names) and self.clock() - self._asked >= self.every_s:
            self._asked = self.clock()
            self._names = await ask()
        return self._shared(names) if self._names.issuperset(names) else ""

    def _shared(self, names: tuple[str, ...]) -> str:
        key = "+".join(names)
        if len(names) == 1 or key in self._compositions:
            return key
        if len(self._compositions) >= MOST_COMPOSITIONS:
            return names[0]
        self._compositions.add(key)
        return key
