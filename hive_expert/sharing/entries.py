"""`experts.json`: what an index says of each package it lists. SPEC section 13.

It is the one target of the index's signed metadata. An entry names the commit and the hash of the
package, so that who serves the repository can change nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from hive_expert.errors import IndexRefusedError
from hive_expert.manifest.adapter_model import AdapterType
from hive_expert.manifest.model import Capability, QualityMetrics
from hive_expert.manifest.record import (
    Contradiction,
    ExpertName,
    Flag,
    Fraction,
    Line,
    Positive,
    Record,
    Sha256,
    Text,
)
from hive_expert.manifest.slug import model_slug
from hive_expert.manifest.strict_json import read_json
from hive_expert.manifest.validation import build
from hive_expert.manifest.versions import precedence
from hive_expert.sharing.lock import Origin, Version

ENTRIES_FILE = "experts.json"
MAX_ENTRIES_BYTES = 16 << 20
MAX_ENTRIES = 20_000


class Base(Record):
    """The base model a package is for."""

    name: Line
    """Hub identifier or path, as its manifest has it."""
    sha256: Annotated[str, Field(strict=True, pattern=r"^([0-9a-f]{64})?$")] = ""
    """Fingerprint of its weights; empty: any of that name."""


class Checked(Record):
    """What the index's keeper found when he ran the package's own tests (`hive check`)."""

    reproduced: Flag
    """Whether the claims hold."""
    score: Fraction
    """The score that was measured."""
    cases: Positive
    """Of how many cases."""
    total: Positive | None = None
    """Of how many that the package has, where he asked a sample."""
    date: Line
    """When."""


class Entry(Record):
    """One package in an index. Law: its source is a commit of a repository we would fetch."""

    name: ExpertName
    """The expert."""
    version: Version
    """Its version."""
    base: Base
    """What it is for."""
    kinds: tuple[AdapterType, ...] = ()
    """Kinds of its adapters; none for a soft prompt alone."""
    rank: Positive | None = None
    """The largest rank of its layers."""
    digest: Sha256
    """What the package is known by."""
    sha256: Sha256
    """Hash of the file."""
    size: Positive
    """Bytes of the file."""
    key_id: Sha256 | None = None
    """The key that signed the package; whom to believe is the user's trust store's business."""
    publisher: Line | None = None
    """Who the package says made it."""
    description: Text | None = None
    """What it is for."""
    capabilities: tuple[Capability, ...] = ()
    """What it can do."""
    license: Line | None = None
    """SPDX identifier."""
    quality: QualityMetrics | None = None
    """What its manifest claims."""
    checked: Checked | None = None
    """What the keeper measured."""
    source: Origin
    """Repository, commit and file."""

    @property
    def model(self) -> str:
        return model_slug(self.base.name)

    @property
    def key(self) -> tuple[str, str, str]:
        """What there can be one of in an index."""
        return self.name, self.version, self.model

    def contradictions(self) -> Iterable[Contradiction]:
        if self.source.url is None:
            yield Contradiction("source", "an index lists packages of git repositories")


class Entries(Record):
    """The whole file. Law: no two entries are for the same name, version and base."""

    format: Literal[1]
    """Version of the file's format."""
    entries: Annotated[tuple[Entry, ...], Field(max_length=MAX_ENTRIES)] = ()
    """All packages."""

    def contradictions(self) -> Iterable[Contradiction]:
        seen: set[tuple[str, str, str]] = set()
        for entry in self.entries:
            if entry.key in seen:
                yield Contradiction("entries", f"{' '.join(entry.key)} is listed twice")
            seen.add(entry.key)

    def having(self, entry: Entry) -> Entries:
        """With an entry, in place of one for the same name, version and base."""
        others = [e for e in self.entries if e.key != entry.key]
        everyone = sorted([*others, entry], key=_order)
        return Entries(format=1, entries=tuple(everyone))

    def without(self, name: str, version: str | None) -> Entries:
        kept = [e for e in self.entries if e.name != name or version not in (None, e.version)]
        return Entries(format=1, entries=tuple(kept))

    def to_bytes(self) -> bytes:
        document = self.model_dump(mode="json", exclude_unset=True)
        return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def parse_entries(data: bytes, where: str = ENTRIES_FILE) -> Entries:
    """Read the file. Raises IndexRefusedError with all that is wrong with it."""
    document = read_json(
        data, where, error=IndexRefusedError, max_bytes=MAX_ENTRIES_BYTES, max_values=2_000_000
    )
    return build(Entries, document, where, error=IndexRefusedError)


def _order(entry: Entry) -> tuple[object, ...]:
    return entry.name, precedence(entry.version), entry.model
