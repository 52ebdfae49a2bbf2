"""`experts.lock.json`: what is installed in an experts directory, and where to get it again.

It says nothing of when or by whom, so that the same packages give the same file. SPEC section 13.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from hive_expert.errors import InstallError, Problem, SourceError
from hive_expert.manifest.record import (
    Contradiction,
    ExpertName,
    Line,
    Positive,
    Record,
    Sha256,
    Text,
)
from hive_expert.manifest.strict_json import read_json
from hive_expert.manifest.validation import build
from hive_expert.manifest.versions import SEMANTIC_VERSION
from hive_expert.sharing.source import parse_url

LOCK_FILE = "experts.lock.json"
MAX_LOCK_BYTES = 4 << 20

Version = Annotated[str, Field(strict=True, max_length=64, pattern=SEMANTIC_VERSION)]
CommitId = Annotated[str, Field(strict=True, pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
_FILE_NAME = r"^expert-[a-z0-9.-]+\.v[A-Za-z0-9.+-]+\.expert$"
FileName = Annotated[str, Field(strict=True, max_length=255, pattern=_FILE_NAME)]


class Origin(Record):
    """Where a package came from: a file of a git commit, or a file of this machine.

    Law: it names either a URL with a commit, or none of them; the URL is one we would fetch.
    """

    url: Line | None = None
    """The git repository."""
    commit: CommitId | None = None
    """Its commit."""
    path: Text
    """The file: in the repository, or its absolute path on this machine."""
    index: Line | None = None
    """The index that named it, as it is called here."""

    def contradictions(self) -> Iterable[Contradiction]:
        if (self.url is None) != (self.commit is None):
            yield Contradiction("commit", "url and commit go together")
        if self.url is not None:
            try:
                parse_url(self.url)
            except SourceError as error:
                yield from (Contradiction("url", p.what) for p in error.problems)


class Installed(Record):
    """One installed package."""

    version: Version
    """Its version."""
    model: Line
    """The slug of the base model it is for."""
    file: FileName
    """Its file in the experts directory."""
    digest: Sha256
    """What the package is known by."""
    sha256: Sha256
    """The hash of the file itself, so that others get the same bytes."""
    size: Positive
    """Bytes of the file."""
    key_id: Sha256 | None = None
    """The key that signed it."""
    publisher: Line | None = None
    """Who the user knows that key by."""
    source: Origin
    """Where it came from."""


class Lock(Record):
    """The whole file."""

    format: Literal[1] = 1
    """Version of the file's format."""
    experts: Mapping[ExpertName, Installed] = Field(default_factory=dict)
    """Installed packages by expert name."""

    def with_changes(self, added: Mapping[str, Installed], removed: Iterable[str] = ()) -> Lock:
        gone = set(removed)
        kept = {name: entry for name, entry in self.experts.items() if name not in gone}
        return Lock(experts=kept | dict(added))

    def to_bytes(self) -> bytes:
        """The one way this lock is written: names in order."""
        experts = {
            name: self.experts[name].model_dump(mode="json", exclude_none=True)
            for name in sorted(self.experts)
        }
        return (json.dumps({"format": 1, "experts": experts}, indent=2) + "\n").encode()


def parse_lock(data: bytes, where: str = LOCK_FILE) -> Lock:
    """Read a lock file. Raises InstallError with all that is wrong with it."""
    document = read_json(data, where, error=InstallError, max_bytes=MAX_LOCK_BYTES)
    return build(Lock, document, where, error=InstallError)


def read_lock(directory: Path) -> Lock:
    """The lock of an experts directory; an empty one where there is none yet."""
    path = directory / LOCK_FILE
    try:
        return parse_lock(path.read_bytes(), str(path))
    except FileNotFoundError:
        return Lock()
    except OSError as exc:
        raise InstallError(Problem(str(path), f"cannot be read: {exc.strerror}")) from exc
