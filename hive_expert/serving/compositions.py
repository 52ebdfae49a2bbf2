"""The compositions that a server has built; those that nobody uses make room for others."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hive_expert.catalog.composition import Composition, build
from hive_expert.catalog.residency import Resident
from hive_expert.catalog.scan import Host
from hive_expert.errors import EngineError

log = logging.getLogger("hive_expert.serving")

MAX_COMPOSITIONS = 256
"""Built ones that are kept: each takes disk, and memory while it is loaded."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A composition that is built, as the engine loads it."""

    digest: str
    engine_name: str
    adapter: Path
    load_order: int
    members: tuple[str, ...]
    relative_error: float = 0.0


@dataclass
class Compositions:
    """Built compositions, by digest.

    Laws: one is built at most once at a time, however many ask for it; one that is in use stays;
    there are at most ``limit`` beside those in use, those used last. One that had to go leaves
    nothing on disk, and is built again when it is asked for: anybody who may ask can name more of
    them, by their weights, than there is room for.
    """

    host: Host
    resident: Resident
    cut: bool = False
    """Take the nearest form that fits a slot, where the ranks add up to too much."""
    limit: int = MAX_COMPOSITIONS
    forget: Callable[[Composed], None] = lambda _: None
    """Told of each that goes."""
    _built: OrderedDict[str, Composed] = field(default_factory=OrderedDict)
    _users: Counter[str] = field(default_factory=Counter)
    _building: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def using(
        self, composition: Composition, served: Callable[[], Collection[str]]
    ) -> AsyncIterator[Composed]:
        """A composition, built unless it is there, and kept while the block runs.

        Args:
            served: the digests of the experts that are served; what is made of others goes first.

        Raises:
            CompositionError, NotYetError: as `build`.
        """
        digest = composition.digest
        self._users[digest] += 1
        try:
            if digest not in self._built:
                async with self._building:
                    if digest not in self._built:
                        self._built[digest] = await self._build(composition)
                        await self._make_room(served())
            self._built.move_to_end(digest)
            yield self._built[digest]
        finally:
            self._users[digest] -= 1
            if not self._users[digest]:
                del self._users[digest]

    def __len__(self) -> int:
        return len(self._built)

    async def _build(self, composition: Composition) -> Composed:
        built = await asyncio.to_thread(build, composition, self.host, cut=self.cut)
        return Composed(
            composition.digest,
            composition.engine_name,
            built.adapter,
            composition.load_order,
            composition.members,
            built.relative_error,
        )

    async def _make_room(self, served: Collection[str]) -> None:
        """Let go of those made of departed experts, and of the ones used longest ago."""
        departed = [d for d, made in self._built.items() if not set(made.members) <= set(served)]
        for digest in (*departed, *(d for d in list(self._built) if d not in departed)):
            if digest not in departed and len(self._built) <= self.limit:
                return
            # Looked up now: while another was let go, somebody may have come for this one.
            if not self._users[digest]:
                await self._let_go(self._built.pop(digest))

    async def _let_go(self, made: Composed) -> None:
        self.forget(made)
        leave = self.host.adapters.drop
        try:
            await self.resident.release(made)
        except EngineError as error:
            log.warning("%s stays in memory: %s", made.engine_name, error)
            leave = self.host.adapters.let_go  # the engine may read it again
        await asyncio.to_thread(leave, made.adapter)
