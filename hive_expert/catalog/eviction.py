"""Which adapter leaves memory when another needs its place. Pure. SPEC section 11."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

DEFAULT_LOAD_ORDER = 10
"""Of an expert whose manifest names none: a task, the last to be loaded."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An adapter in memory that nobody uses and nobody has pinned."""

    digest: str
    load_order: int
    last_used: int
    """On a clock that only moves on: the larger, the later."""


def choose(candidates: Iterable[Candidate]) -> str | None:
    """The digest of the one that leaves, or None if there is none.

    Among the half that was used longest ago the highest load order leaves first, so that
    foundations outlast the tasks that build on them; among equals, the one used longest ago.
    One used lately never leaves before one of the older half, whatever their load orders: else a
    foundation that nobody asks for would keep a place for ever.
    """
    by_age = sorted(candidates, key=lambda c: c.last_used)
    older_half = by_age[: (len(by_age) + 1) // 2]
    leaving = max(older_half, key=lambda c: (c.load_order, -c.last_used), default=None)
    return leaving.digest if leaving else None
