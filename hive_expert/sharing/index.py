"""The indexes in use: git repositories whose signed metadata lists packages. SPEC section 13."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from hive_expert import locations
from hive_expert.errors import IndexRefusedError, Problem, SourceError, UsageError
from hive_expert.manifest.record import Contradiction, Line, Record, Sha256
from hive_expert.manifest.strict_json import read_json
from hive_expert.manifest.validation import build
from hive_expert.sharing.listed import Listing
from hive_expert.sharing.metadata import MAX_METADATA_BYTES, ReadFile, verified_entries
from hive_expert.sharing.repository import Access, Commit, fetch_commit
from hive_expert.sharing.source import parse_url

FIRST_ROOT = "metadata/1.root.json"

_NAME = r"^[a-z0-9][a-z0-9.-]{0,63}$"
IndexName = Annotated[str, Field(strict=True, pattern=_NAME)]


class Used(Record):
    """An index in use. Law: its URL is one we would fetch."""

    url: Line
    """The git repository."""
    root: Sha256
    """Hash of the root metadata that the user began with."""

    def contradictions(self) -> Iterable[Contradiction]:
        try:
            parse_url(self.url)
        except SourceError as error:
            yield from (Contradiction("url", p.what) for p in error.problems)

    @property
    def state(self) -> Path:
        """What was verified of it; it outlives the index's name, so that forgetting an index and
        using it again does not take it back."""
        return locations.indexes_dir() / self.root[:32]


class UsedIndexes(Record):
    """`indexes.json`."""

    format: Literal[1] = 1
    """Version of the file's format."""
    indexes: Mapping[IndexName, Used] = Field(default_factory=dict)
    """Indexes by the name the user gave."""


def used_indexes() -> UsedIndexes:
    """The indexes in use. Raises IndexRefusedError for a file that cannot be understood."""
    path = locations.indexes_file()
    try:
        document = read_json(path.read_bytes(), str(path), error=IndexRefusedError)
    except FileNotFoundError:
        return UsedIndexes()
    except OSError as exc:
        raise IndexRefusedError(Problem(str(path), f"cannot be read: {exc.strerror}")) from exc
    return build(UsedIndexes, document, str(path), error=IndexRefusedError)


def use_index(
    url: str, access: Access, *, name: str | None, root: bytes | None, fingerprint: str | None
) -> tuple[str, Listing]:
    """Begin to use an index, by the root metadata that its keeper told of another way.

    ``root`` is that metadata, or ``fingerprint`` the SHA-256 of the repository's first. One of them
    is needed: a key that comes with an index is not believed because it came with it.
    """
    chosen = name or _name_of(url)
    known = used_indexes()
    if not re.fullmatch(_NAME, chosen):
        raise UsageError(Problem("--name", f"{chosen!r} is not a-z, 0-9, . and -"))
    if chosen in known.indexes:
        raise UsageError(Problem(chosen, "is in use already", f"hive index forget {chosen}"))
    commit = fetch_commit(url, access)
    if root is None:
        root = _reader(commit)(FIRST_ROOT, MAX_METADATA_BYTES)
        if root is None:
            raise IndexRefusedError(Problem(url, f"is no index: it has no {FIRST_ROOT}"))
        found = hashlib.sha256(root).hexdigest()
        if fingerprint is None:
            raise UsageError(
                Problem(
                    url,
                    f"its first root metadata has the SHA-256 {found}",
                    "compare it with what its keeper tells you by another way, then: "
                    f"hive index use {url} --fingerprint {found}",
                )
            )
        if found != fingerprint.lower():
            raise IndexRefusedError(
                Problem(url, f"its first root metadata has the SHA-256 {found}",
                        "this is not the index you were told of")
            )  # fmt: skip
    used = Used(url=url, root=hashlib.sha256(root).hexdigest())
    used.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(used.state / "first-root.json", root)
    listing = _read(chosen, used, commit)
    save_indexes({**known.indexes, chosen: used})
    return chosen, listing


def _name_of(url: str) -> str:
    """What an index is called where the user does not say: the last part of its URL."""
    last = Path(url.removesuffix("/").removesuffix(".git")).name.lower()
    return re.sub(r"[^a-z0-9.-]+", "-", last).strip("-.") or "index"


def listings(only: str | None, access: Access) -> tuple[Listing, ...]:
    """What the indexes in use list now, or one of them; each fetched and verified.

    Raises RepositoryError or IndexRefusedError if one cannot be had or does not verify, and
    UsageError for an index that is not in use.
    """
    known = used_indexes().indexes
    if only is not None and only not in known:
        there = ", ".join(sorted(known)) or "none"
        raise UsageError(Problem(only, "is no index in use", f"in use: {there}"))
    wanted = {name: used for name, used in known.items() if only in (None, name)}
    return tuple(_read(name, used, fetch_commit(used.url, access)) for name, used in wanted.items())


def save_indexes(indexes: Mapping[str, Used]) -> None:
    """Write which indexes are in use."""
    path = locations.indexes_file()
    document = {
        "format": 1,
        "indexes": {name: indexes[name].model_dump(mode="json") for name in sorted(indexes)},
    }
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(path, (json.dumps(document, indent=2) + "\n").encode())


def _read(name: str, used: Used, commit: Commit) -> Listing:
    try:
        root = (used.state / "first-root.json").read_bytes()
    except OSError:
        root = b""
    if hashlib.sha256(root).hexdigest() != used.root:
        remedy = f"hive index forget {name}, and use it anew"
        raise IndexRefusedError(Problem(str(used.state), "is damaged or gone", remedy))
    return Listing(name, verified_entries(_reader(commit), used.state, root, name).entries)


def _reader(commit: Commit) -> ReadFile:
    def read(path: str, most: int) -> bytes | None:
        file = commit.find(path)
        return commit.read(file, most) if file else None

    return read


def _write(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(path)
