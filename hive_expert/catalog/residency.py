"""Which experts are in the engine's memory; what alone puts them there and takes them out."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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


@dataclass(slots=True)
class _Held:
    """An adapter in the engine."""

    adapter_id: int
    users: int = 0
    leaving: bool = False
    """Released, and to be removed when its last user is done."""


@dataclass
class Resident:
    """Experts and compositions in the engine, by digest.

    Laws: an expert is loaded at most once, however many requests ask for it together; an integer
    id never stands for two loads (vLLM does not check that); an expert is never removed while
    somebody is `using` it (vLLM would read it from disk again, in the middle of a batch, and
    keep it).
    """

    engine: AdapterEngine
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _loaded: dict[str, _Held] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def ensure(self, expert: Loadable) -> Residency:
        """Load an expert unless it is there. Only `using` keeps it there.

        Raises:
            AdapterError: the engine refuses the adapter.
            EngineError: the engine is dead.
        """
        if self._stays(expert.digest):
            return Residency("hit")
        async with self._lock(expert.digest):
            if self._stays(expert.digest):
                return Residency("hit")
            adapter_id = next(self._ids)
            started = time.perf_counter()
            await self.engine.add_adapter(expert.engine_name, adapter_id, expert.adapter)
            self._loaded[expert.digest] = _Held(adapter_id)
            return Residency("disk", (time.perf_counter() - started) * 1000)

    @asynccontextmanager
    async def using(self, expert: Loadable) -> AsyncIterator[Residency]:
        """Load an expert unless it is there, and keep it while the block runs.

        Raises:
            AdapterError, EngineError: as `ensure`.
        """
        residency = await self.ensure(expert)
        # Nothing else runs between these two lines, so it is still there.
        held = self._loaded[expert.digest]
        held.users += 1
        try:
            yield residency
        finally:
            held.users -= 1
            if held.leaving:
                async with self._lock(expert.digest):
                    await self._remove_unused(expert.digest)

    async def release(self, expert: Loadable) -> bool:
        """Free an expert's memory and slot: at once, or when the last that uses it is done.

        Who asks for it before that keeps it there. Returns whether it is gone.
        """
        async with self._lock(expert.digest):
            if held := self._loaded.get(expert.digest):
                held.leaving = True
            await self._remove_unused(expert.digest)
        return not self.holds(expert)

    def holds(self, expert: Loadable) -> bool:
        return expert.digest in self._loaded

    def _lock(self, digest: str) -> asyncio.Lock:
        return self._locks.setdefault(digest, asyncio.Lock())

    def _stays(self, digest: str) -> bool:
        """Whether an expert is there, and then it is no longer about to leave."""
        if held := self._loaded.get(digest):
            held.leaving = False
        return held is not None

    async def _remove_unused(self, digest: str) -> None:
        """Remove an expert that was released and is not used. Its lock must be held."""
        held = self._loaded.get(digest)
        if held is None or held.users or not held.leaving:
            return
        del self._loaded[digest]
        await self.engine.remove_adapter(held.adapter_id)
