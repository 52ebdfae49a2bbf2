"""Which experts are in the engine's memory; what alone puts them there and takes them out."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from hive_expert.catalog.eviction import Candidate, choose
from hive_expert.engine.interface import AdapterEngine

Place = Literal["slot", "cpu", "disk"]

COMPOSED = "composed"
"""What all compositions count under: there may be any number of them."""


class Loadable(Protocol):
    """An expert, or several as one: a directory for the engine, and what identifies it."""

    @property
    def digest(self) -> str: ...

    @property
    def engine_name(self) -> str: ...

    @property
    def adapter(self) -> Path: ...

    @property
    def load_order(self) -> int: ...

    @property
    def members(self) -> Collection[str]:
        """Digests of the packages it is made of."""


@dataclass(frozen=True, slots=True)
class Residency:
    """Where an expert's weights were when a request asked for it: in a slot (`hit`), in memory
    or on disk."""

    where: Literal["hit", "cpu", "disk"]
    load_ms: float = 0.0


@dataclass(slots=True)
class _Held:
    """An adapter in the engine."""

    loadable: Loadable
    adapter_id: int
    last_used: int


@dataclass
class Resident:
    """Experts and compositions in the engine, by digest.

    Laws: an expert is loaded at most once, however many requests ask for it together; an integer
    id never stands for two loads (vLLM does not check that); an expert is never removed while
    somebody is `using` it (vLLM would read it from disk again, in the middle of a batch, and
    keep it); there are never more than `capacity`, and a request that finds all of them in use
    waits; a pinned one leaves only when it is released.
    """

    engine: AdapterEngine
    capacity: int | None = None
    """Adapters in memory at most; None: no limit."""
    slots: int | None = None
    """How many of those the engine can have in one batch; None: all."""
    pinned: frozenset[str] = frozenset()
    """Digests that are not evicted."""
    loads: Counter[str] = field(default_factory=Counter)
    """How often each digest was read from disk, and all compositions together, as `COMPOSED`."""
    evictions: Counter[str] = field(default_factory=Counter)
    """How often each digest, and `COMPOSED`, gave its place to another."""
    labels: dict[str, str] = field(default_factory=dict)
    """What `loads` and `evictions` of each digest that was ever read count under, for good: its
    expert's name, for all its versions; `COMPOSED` for itself."""
    requests: Counter[str] = field(default_factory=Counter)
    """How many requests each digest has answered, alone or with others."""
    last_request: dict[str, float] = field(default_factory=dict)
    """When each digest was last asked for, in seconds since 1970."""
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _clock: Iterator[int] = field(default_factory=itertools.count)
    _loaded: dict[str, _Held] = field(default_factory=dict)
    _loading: dict[str, asyncio.Task[float]] = field(default_factory=dict)
    _users: Counter[str] = field(default_factory=Counter)
    _leaving: set[str] = field(default_factory=set)
    _reserved: int = 0
    """Places in memory that are taken by adapters on their way in."""
    _departing: int = 0
    """And by those on their way out."""
    _removals: set[asyncio.Task[None]] = field(default_factory=set)
    _freed: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def using(self, expert: Loadable) -> AsyncIterator[Residency]:
        """Load an expert unless it is there, and keep it while the block runs.

        Raises:
            AdapterError: the engine refuses the adapter.
            EngineError: the engine is dead.
        """
        digest, place = expert.digest, self.place(expert)
        self._users[digest] += 1
        self._leaving.discard(digest)
        try:
            yield await self._present(expert, place)
        finally:
            removal = self._done(digest)
            if removal is not None:
                await asyncio.shield(removal)

    @contextmanager
    def keeping(self, adapter_id: int) -> Iterator[None]:
        """Keep what was loaded under an id while the block runs: a request inside the engine.

        The engine may still work on a request when whoever sent it is gone.
        """
        digest = next((d for d, held in self._loaded.items() if held.adapter_id == adapter_id), "")
        self._users[digest] += 1
        try:
            yield
        finally:
            self._done(digest)

    async def ensure(self, expert: Loadable) -> Residency:
        """Load an expert unless it is there. Only `using` keeps it there.

        Raises:
            AdapterError, EngineError: as `using`.
        """
        async with self.using(expert) as residency:
            return residency

    async def release(self, expert: Loadable) -> bool:
        """Free an expert's memory and slot: at once, or when the last that uses it is done.

        Who asks for it before that keeps it there. Returns whether it is gone.
        """
        digest = expert.digest
        self._leaving.add(digest)
        if loading := self._loading.get(digest):
            await asyncio.wait([loading])
        removal = self._remove_if_left(digest)
        if removal is not None:
            await asyncio.shield(removal)
        return not self.holds(expert)

    def count_request(self, expert: Loadable) -> None:
        """Note, for people, that a request asks for an expert or composition."""
        now = time.time()
        for digest in expert.members:
            self.requests[digest] += 1
            self.last_request[digest] = now

    def holds(self, expert: Loadable) -> bool:
        return expert.digest in self._loaded

    def held(self) -> tuple[Loadable, ...]:
        """All that is in memory."""
        return tuple(held.loadable for held in self._loaded.values())

    def users(self, expert: Loadable) -> int:
        """How many requests use an expert now."""
        return self._users[expert.digest]

    def place(self, expert: Loadable) -> Place:
        """Where an expert is.

        The engine gives its slots to the adapters that it computed last, which are those in use
        and then those used last.
        """
        held = self._loaded.get(expert.digest)
        if held is None:
            return "disk"
        if self.slots is None:
            return "slot"
        used_later = sum(self._recency(d) > self._recency(expert.digest) for d in self._loaded)
        return "slot" if used_later < self.slots else "cpu"

    def places(self) -> dict[str, int]:
        """Place in memory → how many are there, as `place` says of each. Any thread may ask."""
        count = len(self._loaded)
        in_slots = count if self.slots is None else min(count, self.slots)
        return {"slot": in_slots, "cpu": count - in_slots}

    async def _present(self, expert: Loadable, place: Place) -> Residency:
        """Have it in memory; its user is counted already, so that it stays."""
        load_ms = 0.0
        while expert.digest not in self._loaded:
            task = self._loading.get(expert.digest)
            if task is None:
                task = asyncio.create_task(self._load(expert))
                self._loading[expert.digest] = task
                # Whoever shares the load only waits; one request is told what it took.
                load_ms = await asyncio.shield(task)
            else:
                place = "slot"
                await asyncio.shield(task)
        self._loaded[expert.digest].last_used = next(self._clock)
        return Residency("hit" if place == "slot" else place, load_ms)

    async def _load(self, expert: Loadable) -> float:
        """Load one that is not there. Returns the milliseconds it took.

        It is a task of its own: were it cancelled with the request that began it, the engine
        would hold an adapter that nobody knows of.
        """
        digest = expert.digest
        started = time.perf_counter()
        try:
            evicted = await self._reserve()
            try:
                if evicted is not None:
                    await self._remove(evicted)
                adapter_id = next(self._ids)
                await self.engine.add_adapter(expert.engine_name, adapter_id, expert.adapter)
                self._loaded[digest] = _Held(expert, adapter_id, next(self._clock))
            finally:
                self._reserved -= 1
        finally:
            del self._loading[digest]
            self._freed.set()
        counted = _counted(expert)
        name = expert.engine_name.partition("@")[0]
        self.labels[counted] = COMPOSED if counted == COMPOSED else name
        self.loads[counted] += 1
        return (time.perf_counter() - started) * 1000

    async def _reserve(self) -> _Held | None:
        """Take a place in memory, or wait for one; returns who is to be removed for it, if any."""
        while self.capacity is not None and self._taken() >= self.capacity:
            candidates = (
                Candidate(digest, held.loadable.load_order, held.last_used)
                for digest, held in self._loaded.items()
                if not self._users[digest] and digest not in self.pinned
            )
            leaving = choose(candidates)
            if leaving is not None:
                held = self._loaded.pop(leaving)
                self.evictions[_counted(held.loadable)] += 1
                self._reserved += 1
                return held
            self._freed.clear()
            await self._freed.wait()
        self._reserved += 1
        return None

    def _taken(self) -> int:
        """Places that are not free; the engine may not have heard yet of the last removals."""
        return len(self._loaded) + self._reserved + self._departing

    def _recency(self, digest: str) -> tuple[bool, int]:
        return self._users[digest] > 0, self._loaded[digest].last_used

    def _done(self, digest: str) -> asyncio.Task[None] | None:
        """One user less; the removal that follows, if one does."""
        self._users[digest] -= 1
        if not self._users[digest]:
            del self._users[digest]
        if held := self._loaded.get(digest):
            held.last_used = next(self._clock)
        self._freed.set()
        return self._remove_if_left(digest)

    def _remove_if_left(self, digest: str) -> asyncio.Task[None] | None:
        """Remove what was released and is not used."""
        if digest not in self._leaving or self._users[digest] or digest in self._loading:
            return None
        self._leaving.discard(digest)
        # Out of sight at once: whoever asks from here on loads it anew.
        held = self._loaded.pop(digest, None)
        if held is None:
            return None
        self._departing += 1
        task = asyncio.create_task(self._depart(held))
        # Kept here: the event loop holds tasks only weakly.
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)
        return task

    async def _depart(self, held: _Held) -> None:
        try:
            await self._remove(held)
        finally:
            self._departing -= 1
            self._freed.set()

    async def _remove(self, held: _Held) -> None:
        await self.engine.remove_adapter(held.adapter_id)


def _counted(loadable: Loadable) -> str:
    """What its loads and evictions count under. Clients make compositions, by their weights, as
    many as they like: those must not have counts of their own."""
    return loadable.digest if loadable.digest in loadable.members else COMPOSED
