"""Keeps what a server answers with in step with its experts directory. SPEC section 11.

A new version is verified, its grammar tried and, where its predecessor is in memory and there is
room for both, loaded, before it takes the name over; requests that began with the predecessor end
with it, and only then it leaves the engine. What needs none of that, such as a removal or a key
that is revoked, counts at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hive_expert.catalog.catalog import Announced, Catalog, Expert
from hive_expert.catalog.composition import names_in
from hive_expert.catalog.inventory import SETTLE_S, Inventory
from hive_expert.catalog.residency import Resident
from hive_expert.catalog.scan import collect_garbage
from hive_expert.catalog.watch import changes
from hive_expert.errors import (
    AdapterError,
    CatalogError,
    ConflictError,
    EngineError,
    HiveError,
    Problem,
)

log = logging.getLogger("hive_expert.serving")

TIDY_EVERY_S = 24 * 3600.0

Try = Callable[[Expert], Awaitable[None]]


async def _nothing(_: Expert) -> None:
    pass


@dataclass
class Supply:
    """The catalog of a running server, and the pins.

    Laws: `catalog` is replaced whole, never edited; what has left it is released from the engine.
    """

    inventory: Inventory
    resident: Resident
    catalog: Catalog
    pins: set[str] = field(default_factory=set)
    """Names as in requests, without weights: a name alone means whichever version has it."""
    attempt: Try = _nothing
    """Tries what cannot be tried before there is an engine; raises CatalogError."""
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One at a time looks at the directory and prepares what it finds."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Reading, and adopting what was read. Nobody holds it who waits for the engine."""
    _coming: frozenset[str] = frozenset()
    """Digests of experts that are prepared, and served after that."""
    _tried: set[str] = field(default_factory=set)
    """Digests of experts that `attempt` found fit."""

    async def start(self) -> None:
        """Have the first experts verified, and the pinned ones in memory.

        Raises KeyFileError if the trust store cannot be read.
        """
        await asyncio.to_thread(self.inventory.verify_ahead, sorted(self.pins))
        await self._renew()
        await self._load_pinned()

    async def fill_slots(self) -> None:
        """Load experts while there are free slots, by load order, before anybody asks for them."""
        first = sorted(self.catalog.experts.values(), key=lambda e: (e.load_order, e.name))
        for expert in first[: self.resident.slots]:
            if len(self.resident.held()) >= (self.resident.slots or 0):
                return
            if not self.resident.has_room(expert):
                return  # those who ask for others use it all
            try:
                await self.resident.ensure(expert)
            except AdapterError as error:
                self.withdraw(expert, error.problems)
            except EngineError as error:
                log.warning("%s is not loaded ahead: %s", expert.engine_name, error)

    async def require(self, model: str) -> None:
        """Verify whatever has to be before it is known whom `model` means.

        Raises:
            UnknownExpertError, CompositionError: as `names_in`; it is misspelled.
        """
        for name in names_in(model):
            while (entry := self.catalog.pending(name)) is not None:
                async with self._turn:
                    if self.catalog.pending(name) is entry:
                        await asyncio.to_thread(self.inventory.verify, entry)
                        await self._renew()
                        self._require_progress(name, entry)

    async def require_fit(self, expert: Expert) -> None:
        """Try an expert, unless that was done; one that fails is taken out.

        Whatever was verified when the first request came is tried here: only then it is known.

        Raises:
            CatalogError: it is not fit.
            EngineError: nobody could tell in time.
        """
        if expert.digest in self._tried:
            return
        try:
            await self.attempt(expert)
        except CatalogError as error:
            self.withdraw(expert, error.problems)
            raise
        self._tried.add(expert.digest)

    async def refresh(self, *, again: bool = False) -> bool:
        """Look at the directory; what has changed is served from now on.

        Args:
            again: also try what failed before.

        Returns whether it is worth looking again soon. Raises HiveError if the directory, or the
        trust store, cannot be read; then everything stays as it was.
        """
        async with self._looking:
            async with self._turn:
                settling = await asyncio.to_thread(self.inventory.refresh, again=again)
                new = self._unknown(await asyncio.to_thread(self.inventory.catalog))
                self._coming = frozenset(expert.digest for expert in new)
                await self._renew()
            try:
                await self._prepare(new)
            finally:
                self._coming = frozenset()
            async with self._turn:
                await self._renew()
        await self._release_departed()
        await self._load_pinned()
        return settling

    async def follow(self) -> None:
        """Refresh whenever something changes, until cancelled; once a day, tidy the stores."""
        with _logged("free slots are not filled ahead of need"):
            await self.fill_slots()
        tidied = time.monotonic()
        async for _ in changes(self.inventory.directory):
            await self.refresh_and_log()
            if time.monotonic() - tidied > TIDY_EVERY_S:
                tidied = time.monotonic()
                with _logged("the stores are not tidied"):
                    await asyncio.to_thread(
                        collect_garbage, self.inventory.host, self.inventory.store
                    )

    async def refresh_and_log(self) -> None:
        """Refresh as long as files are on their way; failures are logged."""
        with _logged("the experts directory stays as it was"):
            while await self.refresh():
                await asyncio.sleep(SETTLE_S)

    async def load(self, name: str) -> Expert:
        """Have an expert in memory. Raises CatalogError, AdapterError or EngineError."""
        await self.require(name)
        expert = self.catalog.find(name)
        await self.require_fit(expert)
        await self.resident.ensure(expert)
        return expert

    async def unload(self, name: str) -> tuple[Expert, bool]:
        """Free an expert's memory and slot, and those of compositions with it.

        Returns the expert, and whether it is gone already: while requests use it, it stays.
        Raises CatalogError, or ConflictError if it is pinned.
        """
        await self.require(name)
        expert = self.catalog.find(name)
        if expert.digest in self.resident.pinned:
            raise ConflictError(Problem("model", f"{name} is pinned", "unpin it first"))
        gone = True
        for held in self.resident.held():
            if expert.digest in held.members:
                gone &= await self.resident.release(held)
        return expert, gone

    async def pin(self, name: str) -> Expert:
        """Have an expert in memory, and keep it there.

        Raises CatalogError, AdapterError or EngineError; ConflictError if no place would be left
        for others.
        """
        await self.require(name)
        expert = self.catalog.find(name)
        await self.require_fit(expert)
        capacity = self.resident.capacity
        # By names: one that is not there now, or is the same expert as another's, may soon be an
        # expert of its own, and take a place.
        if capacity is not None and len(self.pins | {name}) >= capacity:
            what = f"{len(self.pins)} of {capacity} places in memory are pinned"
            raise ConflictError(Problem("model", what, "unpin another, or --max-cpu-experts"))
        self.pins.add(name)
        self._set_pinned()
        await self.resident.ensure(expert)
        return expert

    async def unpin(self, name: str) -> Expert:
        """Let an expert leave memory again when its place is needed.

        Raises CatalogError if there is none of that name; if one was pinned by it that is not
        there now, it no longer is.
        """
        self.pins.discard(name)
        await self.require(name)
        expert = self.catalog.find(name)
        self.pins = {pin for pin in self.pins if self._meant(pin) != expert}
        self._set_pinned()
        return expert

    def withdraw(self, expert: Expert, problems: tuple[Problem, ...]) -> None:
        """Take out one that turned out unfit; it is listed with the reason."""
        self.inventory.withdraw(expert, problems)
        self._adopt(self.inventory.catalog(self._coming))

    def _unknown(self, catalog: Catalog) -> list[Expert]:
        """Experts that are not served by now."""
        known = {expert.digest for expert in self.catalog.versions}
        return [expert for expert in catalog.versions if expert.digest not in known]

    async def _prepare(self, new: Iterable[Expert]) -> None:
        """Try those that come anew, and load those whose predecessor is in memory.

        Where all places are in use, who asks for one first will have it loaded: to wait here would
        keep the old version's users out, and the new one's, for nothing.
        """
        for expert in new:
            predecessor = self.catalog.experts.get(expert.name)
            try:
                await self.attempt(expert)
                self._tried.add(expert.digest)
                replaces = predecessor is not None and self.resident.holds(predecessor)
                if replaces and self.resident.has_room(expert):
                    await self.resident.ensure(expert)
            except (CatalogError, AdapterError) as error:
                self.inventory.withdraw(expert, error.problems)
            except EngineError as error:
                log.warning("%s is served without being tried: %s", expert.engine_name, error)

    async def _renew(self) -> None:
        """Serve what the inventory has now, but for what is still prepared."""
        self._adopt(await asyncio.to_thread(self.inventory.catalog, self._coming))

    def _adopt(self, catalog: Catalog) -> None:
        before, self.catalog = self.catalog, catalog
        _log_changes(before, catalog)
        self._set_pinned()

    async def _release_departed(self) -> None:
        """What is in memory and no longer in the catalog, compositions included."""
        served = {expert.digest for expert in self.catalog.versions} | self._coming
        self._tried &= served
        for held in self.resident.held():
            if not served.issuperset(held.members):
                await self.resident.release(held)
        in_memory = {digest for held in self.resident.held() for digest in held.members}
        await asyncio.to_thread(self.inventory.let_go, in_memory)

    async def _load_pinned(self) -> None:
        for pin in sorted(self.pins):
            try:
                await self.load(pin)
            except HiveError as error:
                log.warning("%s is pinned and not in memory: %s", pin, error)

    def _set_pinned(self) -> None:
        meant = (self._meant(pin) for pin in self.pins)
        self.resident.pin(frozenset(expert.digest for expert in meant if expert))

    def _meant(self, pin: str) -> Expert | None:
        try:
            return self.catalog.find(pin)
        except CatalogError:
            return None

    def _require_progress(self, name: str, entry: Announced) -> None:
        if self.catalog.pending(name) is entry:
            what = f"The model `{name}` is not served: {entry.source} is not accepted"
            raise CatalogError(Problem("model", what, "see GET /v1/experts"))


@contextmanager
def _logged(consequence: str) -> Iterator[None]:
    """Log a failure, and go on: whatever it is, it must not end the watching."""
    try:
        yield
    except HiveError as error:
        log.warning("%s: %s", consequence, error)
    except Exception:
        log.exception("%s", consequence)


def _log_changes(before: Catalog, after: Catalog) -> None:
    def labels(entries: Iterable[Expert | Announced]) -> set[str]:
        return {f"{e.name} {e.version} ({e.source})" for e in entries}

    old = labels((*before.versions, *before.announced))
    new = labels((*after.versions, *after.announced))
    for label in sorted(new - old):
        log.info("%s is served", label)
    for label in sorted(old - new):
        log.info("%s is no longer served", label)
    for entry in after.unavailable:
        if entry not in before.unavailable:
            log.warning("%s is not served: %s", entry.source, "; ".join(map(str, entry.problems)))
