"""Which experts are in the engine's memory, and the one place that puts them there."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from hive_expert.engine.interface import AdapterEngine


class Loadable(Protocol):
    """An expert, or several as one: a directory for the engine, and what identifies it."""

    @property
    def digest(self) -> str: ...

    @property
    def engine_name(self) -> str: ...

    @property
    def adapter(self) -> Path: ...


@dataclass(frozen=True, slots=True)
class Residency:
    """Where an expert's weights were when a request asked for it."""

    where: Literal["hit", "disk"]
    load_ms: float = 0.0


@dataclass
class Resident:
    """Experts and compositions in the engine, by digest.

    Law: an expert is loaded at most once, however many requests ask for it together, and
    an integer id never stands for two digests (vLLM does not check that).
    """

    engine: AdapterEngine
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _loaded: dict[str, int] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def ensure(self, expert: Loadable) -> Residency:
        """Load an expert unless it is there.

        Raises:
            AdapterError: the engine refuses the adapter.
            EngineError: the engine is dead.
        """
        if expert.digest in self._loaded:
            return Residency("hit")
        async with self._locks.setdefault(expert.digest, asyncio.Lock()):
            if expert.digest in self._loaded:
                return Residency("hit")
            adapter_id = next(self._ids)
            started = time.perf_counter()
            await self.engine.add_adapter(expert.engine_name, adapter_id, expert.adapter)
            self._loaded[expert.digest] = adapter_id
            return Residency("disk", (time.perf_counter() - started) * 1000)

    def holds(self, expert: Loadable) -> bool:
        return expert.digest in self._loaded
