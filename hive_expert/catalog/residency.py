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
from hive_expert.errors import BusyError, Problem

Place = Literal["slot", "cpu", "disk"]

WAIT_S = 120.0
"""How long a request waits for a place in memory at most."""

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


@dataclass(slots=True, eq=False)
class _Waiting:
    """Requests that wait for the same adapter."""

    loadable: Loadable
    requests: list[asyncio.Future[Residency]] = field(default_factory=list)
    since: float = field(default_factory=time.perf_counter)
    load: asyncio.Task[None] | None = None
    """The engine reads it."""


@dataclass
class Resident:
    """Experts and compositions in the engine, by digest.

    Laws: an expert is loaded at most once, however many requests ask for it together; an integer
    id never stands for two loads (vLLM does not check that); an expert is never removed while
    somebody is `using` it (vLLM would read it from disk again, in the middle of a batch, and
    keep it); there are never more than `capacity`, and a request that finds all of them in use
    waits; a pinned one leaves only when it is released.

    Whoever waits first is given the first place that becomes free. So that one does, however many
    use what is in memory, one adapter is closed for each load that waits: who asks for a closed one
    stands in line as well, until it has left and is loaded anew, or nobody before him needs its
    place any more. Nobody waits for longer than `wait_s`.
    """

    engine: AdapterEngine
    capacity: int | None = None
    """Adapters in memory at most; None: no limit."""
    slots: int | None = None
    """How many of those the engine can have in one batch; None: all."""
    wait_s: float = WAIT_S
    """How long a request waits for a place."""
    pinned: frozenset[str] = frozenset()
    """Digests that are not evicted; see `pin`."""
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
    _loading: dict[str, _Waiting] = field(default_factory=dict)
    _line: dict[str, _Waiting] = field(default_factory=dict)
    """What waits for a place, first come first served."""
    _closed: list[str] = field(default_factory=list)
    """Whose places are to become free for those in line, the first for the first."""
    _users: Counter[str] = field(default_factory=Counter)
    _leaving: set[str] = field(default_factory=set)
    _reserved: int = 0
    """Places in memory that are taken by adapters on their way in."""
    _departing: int = 0
    """And by those on their way out."""
    _removals: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def using(self, expert: Loadable) -> AsyncIterator[Residency]:
        """Load an expert unless it is there, and keep it while the block runs.

        Raises:
            AdapterError: the engine refuses the adapter.
            EngineError: the engine is dead.
            BusyError: all places in memory were in use for too long.
        """
        self._leaving.discard(expert.digest)
        residency = self._enter_at_once(expert) or await self._enter_in_turn(expert)
        try:
            yield residency
        finally:
            removal = self._done(expert.digest)
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
            AdapterError, EngineError, BusyError: as `using`.
        """
        async with self.using(expert) as residency:
            return residency

    async def release(self, expert: Loadable) -> bool:
        """Free an expert's memory and slot: at once, or when the last that uses it is done.

        Who asks for it before that keeps it there. Returns whether it is gone.
        """
        digest = expert.digest
        self._leaving.add(digest)
        if (loading := self._loading.get(digest)) and loading.load:
            await asyncio.wait([loading.load])
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

    def pin(self, digests: frozenset[str]) -> None:
        """Say which are not evicted from now on."""
        self.pinned = digests
        self._advance()

    def has_room(self, expert: Loadable) -> bool:
        """Whether it is in memory, or could be without waiting for others to be done."""
        if expert.digest in self._loaded or expert.digest in self._loading:
            return True
        return not self._line and (not self._is_full() or self._oldest_unused() is not None)

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

    def _enter_at_once(self, expert: Loadable) -> Residency | None:
        """Become a user of what is there; None if it is not, or somebody waits for its place."""
        digest = expert.digest
        if digest not in self._loaded or digest in self._closed:
            return None
        place = self.place(expert)
        self._let_in(digest)
        return Residency("hit" if place == "slot" else place)

    async def _enter_in_turn(self, expert: Loadable) -> Residency:
        """Become a user of what is loaded for it, or was closed to newcomers for a while."""
        digest, loop = expert.digest, asyncio.get_running_loop()
        waiting = self._loading.get(digest) or self._line.setdefault(digest, _Waiting(expert))
        request: asyncio.Future[Residency] = loop.create_future()
        waiting.requests.append(request)
        self._advance()
        limit = loop.call_later(self.wait_s, self._give_up, waiting, request)
        try:
            return await request
        except asyncio.CancelledError:
            if not request.cancelled() and request.exception() is None:
                self._done(digest)  # it had been let in, and has not heard of it
            raise
        finally:
            limit.cancel()
            waiting.requests.remove(request)
            if not waiting.requests and self._line.get(digest) is waiting:
                del self._line[digest]
                self._remove_if_left(digest)
                self._advance()

    def _give_up(self, waiting: _Waiting, request: asyncio.Future[Residency]) -> None:
        """End the wait of a request whose load has not begun."""
        if request.done() or self._line.get(waiting.loadable.digest) is not waiting:
            return
        what = f"all {self.capacity} places for experts in memory are in use"
        request.set_exception(BusyError(Problem("model", what, "ask again later")))

    def _advance(self) -> None:
        """Let in line go on whoever can, and close what the others wait for."""
        if not self._line:
            self._closed.clear()
            return
        self._closed = [d for d in self._closed if d in self._loaded and d not in self.pinned]
        loads = 0
        for digest, waiting in tuple(self._line.items()):
            if digest in self._loaded:
                if digest not in self._closed[: self._to_close(loads)]:
                    del self._line[digest]
                    self._let_all_in(waiting, Residency("hit"))
            elif not loads and self._begin(waiting):
                del self._line[digest]
            else:
                loads += 1
        del self._closed[self._to_close(loads) :]
        while len(self._closed) < self._to_close(loads):
            closed = choose(c for c in self._evictable() if c.digest not in self._closed)
            if closed is None:
                break
            self._closed.append(closed)

    def _to_close(self, loads: int) -> int:
        """How many must be closed for so many loads, beside the places that become free anyway."""
        return max(0, loads - self._departing)

    def _begin(self, waiting: _Waiting) -> bool:
        """Begin to load, if there is a place or somebody unused gives its own."""
        evicted = None
        if self._is_full():
            leaving = self._oldest_unused()
            if leaving is None:
                return False
            evicted = self._loaded.pop(leaving)
            self.evictions[_counted(evicted.loadable)] += 1
        self._reserved += 1
        self._loading[waiting.loadable.digest] = waiting
        waiting.load = asyncio.create_task(self._load(waiting, evicted))
        return True

    async def _load(self, waiting: _Waiting, evicted: _Held | None) -> None:
        """Load one that is not there, and let in who waits for it.

        It is a task of its own: were it cancelled with the request that began it, the engine
        would hold an adapter that nobody knows of.
        """
        expert, digest = waiting.loadable, waiting.loadable.digest
        failure: Exception | None = None
        try:
            if evicted is not None:
                await self._remove(evicted)
            adapter_id = next(self._ids)
            await self.engine.add_adapter(expert.engine_name, adapter_id, expert.adapter)
            self._loaded[digest] = _Held(expert, adapter_id, next(self._clock))
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            failure = error
        finally:
            self._reserved -= 1
            del self._loading[digest]
        if failure is None:
            counted = _counted(expert)
            name = expert.engine_name.partition("@")[0]
            self.labels[counted] = COMPOSED if counted == COMPOSED else name
            self.loads[counted] += 1
            load_ms = (time.perf_counter() - waiting.since) * 1000
            self._let_all_in(waiting, Residency("disk", load_ms))
        else:
            for request in waiting.requests:
                if not request.done():
                    request.set_exception(failure)
        removal = self._remove_if_left(digest)
        self._advance()
        if removal is not None:
            await removal

    def _let_all_in(self, waiting: _Waiting, first: Residency) -> None:
        """Make users of those who wait. One is told what it took, the others have only waited."""
        residency = first
        for request in waiting.requests:
            if not request.done():
                self._let_in(waiting.loadable.digest)
                request.set_result(residency)
                residency = Residency("hit")

    def _let_in(self, digest: str) -> None:
        self._users[digest] += 1
        self._loaded[digest].last_used = next(self._clock)

    def _evictable(self) -> Iterator[Candidate]:
        for digest, held in self._loaded.items():
            if digest not in self.pinned:
                yield Candidate(digest, held.loadable.load_order, held.last_used)

    def _oldest_unused(self) -> str | None:
        """Who is to be removed when a place is needed."""
        return choose(c for c in self._evictable() if not self._users[c.digest])

    def _is_full(self) -> bool:
        return self.capacity is not None and self._taken() >= self.capacity

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
        removal = self._remove_if_left(digest)
        self._advance()
        return removal

    def _remove_if_left(self, digest: str) -> asyncio.Task[None] | None:
        """Remove what was released and is not used; who stands in line for it will use it."""
        if digest not in self._leaving or self._users[digest]:
            return None
        if digest in self._loading or digest in self._line:
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
            self._advance()

    async def _remove(self, held: _Held) -> None:
        await self.engine.remove_adapter(held.adapter_id)


def _counted(loadable: Loadable) -> str:
    """What its loads and evictions count under. Clients make compositions, by their weights, as
    many as they like: those must not have counts of their own."""
    return loadable.digest if loadable.digest in loadable.members else COMPOSED
