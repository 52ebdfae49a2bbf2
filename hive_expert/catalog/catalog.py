"""The experts a server knows: verified ones by name, broken ones with their reason.

A catalog is a value: scanning makes a new one, nothing edits it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.version import Version

from hive_expert.decoding.contract import Contract
from hive_expert.errors import CatalogError, Problem, UnknownExpertError
from hive_expert.manifest.model import Manifest

DIGEST_PREFIX = 12
"""Hex digits of the package digest that tell versions of an expert apart in the engine."""


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

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def engine_name(self) -> str:
        """Identity inside the engine: two versions of one expert never share it."""
        return f"{self.name}@{self.digest[:DIGEST_PREFIX]}"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Something in the experts directory that is not served, and why."""

    source: str
    """File name in the experts directory."""
    name: str | None
    """The expert's name, where the package could be verified; its own word counts for nothing."""
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    """All of one scan.

    Law: each name in `experts` maps to its highest version; `versions` holds all of them.
    """

    experts: Mapping[str, Expert] = field(default_factory=dict)
    versions: tuple[Expert, ...] = ()
    unavailable: tuple[Unavailable, ...] = ()

    def find(self, name: str) -> Expert:
        """The expert a client means: `NAME`, `NAME@VERSION` or `NAME#DIGEST-PREFIX`.

        Raises:
            UnknownExpertError: no such expert; the remedy names the nearest ones.
            CatalogError: it is there but cannot be served; says why.
        """
        if name in self.experts:
            return self.experts[name]
        for separator, matches in (("@", _has_version), ("#", _has_digest)):
            base, found, wanted = name.partition(separator)
            if found and wanted:
                for expert in self.versions:
                    if expert.name == base and matches(expert, wanted):
                        return expert
        self._raise_unavailable(name)
        raise UnknownExpertError(
            Problem("model", f"The model `{name}` does not exist.", self._nearest(name))
        )

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.experts))

    def _raise_unavailable(self, name: str) -> None:
        for entry in self.unavailable:
            if entry.name == name or (entry.name is None and _file_may_hold(entry.source, name)):
                raise CatalogError(
                    Problem("model", f"The model `{name}` is not served: {entry.source}"),
                    *entry.problems,
                )

    def _nearest(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.names(), n=3, cutoff=0.5)
        if near:
            return f"did you mean {', '.join(near)}?"
        return f"this server knows {', '.join(self.names()) or 'no experts'}"


def assemble(experts: Iterable[Expert], unavailable: Iterable[Unavailable] = ()) -> Catalog:
    """A catalog from what a scan found; of several versions the highest takes the name."""
    versions = tuple(sorted(experts, key=lambda e: (e.name, Version(e.version), e.digest)))
    return Catalog({e.name: e for e in versions}, versions, tuple(unavailable))


def _has_version(expert: Expert, wanted: str) -> bool:
    return expert.version == wanted


def _has_digest(expert: Expert, wanted: str) -> bool:
    return len(wanted) >= 6 and expert.digest.startswith(wanted)


def _file_may_hold(source: str, name: str) -> bool:
    return source == name or source.startswith((f"{name}-", f"{name}.v"))
