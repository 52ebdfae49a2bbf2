"""The experts a server knows: verified ones by name, broken ones with their reason.

A catalog is a value: scanning makes a new one, nothing edits it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path

from hive_expert.catalog.eviction import DEFAULT_LOAD_ORDER
from hive_expert.decoding.contract import Contract
from hive_expert.errors import CatalogError, Problem, UnknownExpertError
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.versions import precedence
from hive_expert.package.trust import PackageFacts

DIGEST_PREFIX = 12
"""Hex digits of the package digest that tell versions of an expert apart in the engine."""

MIN_DIGEST_PREFIX = 6
NAMED = 20
"""Names that an error lists at most."""


@dataclass(frozen=True, slots=True)
class Expert:
    """One verified package, ready to be loaded.

    Law: `adapter` is a folder whose content is named by `digest`, so that a path never
    stands for two contents (vLLM's prefix cache is keyed by name and path, not content).
    """

    manifest: Manifest
    digest: str
    adapter: Path
    contract: Contract
    rank: int
    virtual_tokens: int = 0
    """Positions its soft prompt takes before the text."""
    publisher: str | None = None
    warnings: tuple[str, ...] = ()
    source: str = ""
    """File name in the experts directory."""
    facts: PackageFacts | None = None
    """What trust decides by; None where nobody asks it."""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def load_order(self) -> int:
        """1 to 10, lower first (SPEC section 3)."""
        return _load_order(self.manifest)

    @property
    def members(self) -> tuple[str, ...]:
        """Itself: see `residency.Loadable`."""
        return (self.digest,)

    @property
    def engine_name(self) -> str:
        """Identity inside the engine: two versions of one expert never share it."""
        return f"{self.name}@{self.digest[:DIGEST_PREFIX]}"


@dataclass(frozen=True, slots=True)
class Announced:
    """A package whose manifest is signed as it says, and whose weights nobody has read yet.

    It is verified as a whole, and becomes an `Expert`, when it is first asked for.
    """

    manifest: Manifest
    source: str
    """File name in the experts directory."""
    facts: PackageFacts | None
    """What trust decides by. None for an unsigned folder, which has no digest before
    it is packed."""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def load_order(self) -> int:
        return _load_order(self.manifest)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Something in the experts directory that is not served, and why."""

    source: str
    """File name in the experts directory."""
    name: str | None
    """The expert's name, where the package could be verified; its own word counts for nothing."""
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Catalog:
    """All of one look at the directory.

    Laws: each name in `experts` maps to its highest version of those in `versions`, which holds
    all that are ready; those in `announced` become ready, or unavailable, when they are asked for.
    """

    experts: Mapping[str, Expert] = field(default_factory=dict)
    versions: tuple[Expert, ...] = ()
    unavailable: tuple[Unavailable, ...] = ()
    announced: tuple[Announced, ...] = ()

    def find(self, name: str, others: Sequence[str] = ()) -> Expert:
        """The expert a client means: `NAME`, `NAME@VERSION` or `NAME#DIGEST-PREFIX`.

        What `pending` names must have been verified before.

        Args:
            others: what the client may have meant that is no expert.

        Raises:
            UnknownExpertError: no such expert; the remedy names the nearest ones.
            CatalogError: it is there but cannot be served; says why.
        """
        base, matches = _meaning(name)
        for expert in reversed(self._versions_of.get(base, ())):
            if matches(expert.version, expert.digest):
                return expert
        self._raise_unavailable(base)
        raise UnknownExpertError(
            Problem("model", f"The model `{name}` does not exist.", self._nearest(name, others))
        )

    def pending(self, name: str) -> Announced | None:
        """What has to be verified before it is known whom `name` means; None once it is."""
        base, matches = _meaning(name)
        announced = self._announced_of.get(base, ())
        if not announced:
            return None
        possible = [
            entry
            for entry in announced
            # An unknown digest may be any.
            if matches(entry.version, entry.facts.digest if entry.facts else None)
        ]
        ready = [
            precedence(expert.version)
            for expert in self._versions_of.get(base, ())
            if matches(expert.version, expert.digest)
        ]
        best = max(possible, key=lambda entry: precedence(entry.version), default=None)
        if best is None or (ready and ("#" in name or precedence(best.version) <= max(ready))):
            return None
        return best

    @cached_property
    def _versions_of(self) -> Mapping[str, tuple[Expert, ...]]:
        return {name: tuple(g) for name, g in groupby(self.versions, key=lambda e: e.name)}

    @cached_property
    def _announced_of(self) -> Mapping[str, tuple[Announced, ...]]:
        return {name: tuple(g) for name, g in groupby(self.announced, key=lambda e: e.name)}

    @cached_property
    def known(self) -> Mapping[str, Expert | Announced]:
        """The highest version of each name, whether it is ready or not."""
        everyone: list[Expert | Announced] = [*self.announced, *self.versions]
        return {e.name: e for e in sorted(everyone, key=lambda e: precedence(e.version))}

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.known))

    def _raise_unavailable(self, name: str) -> None:
        for entry in self.unavailable:
            if entry.name == name or (entry.name is None and _file_may_hold(entry.source, name)):
                raise CatalogError(
                    Problem("model", f"The model `{name}` is not served: {entry.source}"),
                    *entry.problems,
                )

    def _nearest(self, name: str, others: Sequence[str]) -> str:
        base, _ = _meaning(name)
        everyone: list[Expert | Announced] = [*self.versions, *self.announced]
        everyone.sort(key=lambda e: precedence(e.version))
        of_that_name = [*dict.fromkeys(f"{base}@{e.version}" for e in everyone if e.name == base)]
        names = (*self.names(), *others)
        # Names of bases have capitals, which clients forget.
        folded = {known.lower(): known for known in names}
        near = of_that_name or [
            folded[found] for found in difflib.get_close_matches(base.lower(), folded, 3, 0.5)
        ]
        if near:
            return f"did you mean {', '.join(near[-NAMED:])}?"
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return f"this server knows {', '.join(names[:NAMED]) or 'no experts'}{more}"


def assemble(
    experts: Iterable[Expert],
    unavailable: Iterable[Unavailable] = (),
    announced: Iterable[Announced] = (),
) -> Catalog:
    """A catalog from what was found; of several versions the highest takes the name."""
    versions = sorted(experts, key=lambda e: (e.name, precedence(e.version), e.digest))
    # The same package may lie there twice.
    distinct = tuple({e.digest: e for e in versions}.values())
    waiting = tuple(sorted(announced, key=lambda a: (a.name, precedence(a.version), a.source)))
    return Catalog({e.name: e for e in distinct}, distinct, tuple(unavailable), waiting)


def plain_name(name: str) -> str:
    """The expert's name in what a client wrote: without a version or digest."""
    return _meaning(name)[0]


def _meaning(name: str) -> tuple[str, Callable[[str, str | None], bool]]:
    """The expert's name in what a client wrote, and whether a version or digest is meant by it.

    A digest of None is not known yet.
    """
    base, found, version = name.partition("@")
    if found:
        return base, lambda its_version, _: its_version == version
    base, found, prefix = name.partition("#")
    if found and len(prefix) < MIN_DIGEST_PREFIX:
        return base, lambda *_: False
    return base, lambda _, digest: digest is None or digest.startswith(prefix)


def _load_order(manifest: Manifest) -> int:
    """1 to 10, lower first (SPEC section 3)."""
    constraints = manifest.constraints
    return (constraints.load_order if constraints else None) or DEFAULT_LOAD_ORDER


def _file_may_hold(source: str, name: str) -> bool:
    return source == name or source.startswith((f"{name}-", f"{name}.v"))
