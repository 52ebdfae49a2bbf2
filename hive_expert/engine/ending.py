"""Why a server ended: told by what runs inside vLLM's event loop to what started it."""

from __future__ import annotations

from dataclasses import dataclass

from hive_expert.errors import Problem


@dataclass
class Ending:
    """How a run of a server ended. Written once, before vLLM's server returns."""

    asked: bool = False
    """By a signal."""
    failure: Problem | None = None
    """What died."""
