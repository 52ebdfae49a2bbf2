"""The files of an index, in a working copy of its repository. SPEC section 13.

::

    metadata/1.root.json, 2.root.json …   who may sign what; each signed by the one before too
    metadata/timestamp.json               which snapshot is the newest; short-lived
    metadata/N.snapshot.json              which targets metadata belongs to it; short-lived
    metadata/N.targets.json               the hash of experts.json
    targets/<sha256>.experts.json         the entries
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization.json import JSONSerializer

from hive_expert.errors import IndexRefusedError, Problem
from hive_expert.sharing.entries import ENTRIES_FILE, Entries, parse_entries

_SERIALIZER = JSONSerializer(compact=False)

TIMESTAMP = "timestamp"
"""The one role whose file has no version in its name: it is where users begin."""

Files: TypeAlias = dict[str, Metadata[Any]]
"""Metadata by the name of its file."""


@dataclass(frozen=True, slots=True)
class IndexFiles:
    """An index's folder: what stands in its files, signed or not, and how they are replaced."""

    directory: Path

    def entries(self) -> Entries:
        """What the index lists. Raises IndexRefusedError where there is no index."""
        target = self.targets().signed.targets[ENTRIES_FILE]
        path = self._listed / f"{target.hashes['sha256']}.{ENTRIES_FILE}"
        try:
            return parse_entries(path.read_bytes(), str(path))
        except OSError as exc:
            raise IndexRefusedError(Problem(str(path), f"cannot be read: {exc.strerror}")) from exc

    def root(self) -> Metadata[Root]:
        """The newest root, whether enough keys have signed it yet or not.

        Raises IndexRefusedError where there is no index.
        """
        return self.load(self.newest("root"))

    def root_before(self) -> Root:
        """The root whose keys must sign the newest one too; of the first root it is that itself."""
        last = self.versions("root")[-1]
        before: Metadata[Root] = self.load(f"{max(1, last - 1)}.root.json")
        return before.signed

    def targets(self) -> Metadata[Targets]:
        """The newest targets. Raises IndexRefusedError where there is no index."""
        return self.load(self.newest("targets"))

    def newest(self, role: str) -> str:
        """The name of a role's newest file. Raises IndexRefusedError where there is no index."""
        if role == TIMESTAMP:
            return f"{TIMESTAMP}.json"
        versions = self.versions(role)
        if not versions:
            raise IndexRefusedError(
                Problem(str(self.directory), "is no index", "hive index init makes one")
            )
        return f"{versions[-1]}.{role}.json"

    def versions(self, role: str) -> list[int]:
        """The versions of a role's files that are there, in order."""
        names = (p.name.partition(".")[0] for p in self._metadata.glob(f"*.{role}.json"))
        return sorted(int(name) for name in names if name.isdigit())

    def has(self, name: str) -> bool:
        """Whether there is a file of metadata."""
        return (self._metadata / name).is_file()

    def load(self, name: str) -> Metadata[Any]:
        """The metadata of a file. Raises IndexRefusedError where it cannot be read."""
        path = self._metadata / name
        try:
            return Metadata.from_bytes(path.read_bytes())
        except (OSError, TufError) as exc:
            raise IndexRefusedError(Problem(str(path), f"cannot be read: {exc}")) from exc

    def read(self, path: str, most: int) -> bytes | None:
        """A file of the index, for reading it as a user's client would."""
        file = self.directory / path
        return file.read_bytes()[: most + 1] if file.is_file() else None

    def save(self, files: Files, entries: bytes | None = None) -> None:
        """Write metadata, and the list that it names if that is new, what is named first."""
        for folder in (self._metadata, self._listed):
            folder.mkdir(parents=True, exist_ok=True)
        if entries is not None:
            digest = hashlib.sha256(entries).hexdigest()
            (self._listed / f"{digest}.{ENTRIES_FILE}").write_bytes(entries)
        for name, metadata in files.items():
            (self._metadata / name).write_bytes(metadata.to_bytes(_SERIALIZER))
        self._sweep()

    def _sweep(self) -> None:
        """Remove what no snapshot names any more; roots stay, for users who come from far back."""
        target = self.targets().signed.targets[ENTRIES_FILE]
        for role in ("targets", "snapshot"):
            for path in self._metadata.glob(f"*.{role}.json"):
                if path.name != self.newest(role):
                    path.unlink()
        for path in self._listed.glob(f"*.{ENTRIES_FILE}"):
            if path.name != f"{target.hashes['sha256']}.{ENTRIES_FILE}":
                path.unlink()

    @property
    def _metadata(self) -> Path:
        return self.directory / "metadata"

    @property
    def _listed(self) -> Path:
        return self.directory / "targets"
