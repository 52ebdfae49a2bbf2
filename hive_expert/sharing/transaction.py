"""Changes to an experts directory that happen as a whole, whenever the process is killed.

A change is written down first, in one file that appears by one rename: that is the moment it
happens. Everything after only carries out what the file says, each step may be done twice, and
whoever comes next does what a killed process left undone. Before that moment nothing has happened
but copies in a hidden folder. SPEC sections 11 and 13.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from hive_expert.errors import InstallError, Problem
from hive_expert.manifest.record import ExpertName, Line, Record
from hive_expert.manifest.strict_json import read_json
from hive_expert.manifest.validation import build
from hive_expert.package.trust_store import Pin, TrustStore
from hive_expert.sharing.lock import LOCK_FILE, FileName, Lock, Version, read_lock

_OURS = ".hive"
_JOURNAL = "change.json"
_LOCK = "lock"
_STAGED = "staged"


class Change(Record):
    """What is to be done; the files that are added lie in the staging folder, under their names."""

    format: Literal[1] = 1
    """Version of the file's format."""
    added: tuple[FileName, ...] = ()
    """Packages that come."""
    removed: tuple[FileName, ...] = ()
    """Packages that go."""
    seen: Mapping[Line, Version] = Field(default_factory=dict)
    """Versions that trust is to remember, by line."""
    pins: Mapping[ExpertName, Pin] = Field(default_factory=dict)
    """Pins that trust is to have."""
    lock: Lock
    """The lock file afterwards."""


@dataclass(frozen=True, slots=True)
class ExpertsFolder:
    """An experts directory that this process alone changes, and the trust store that goes with it.

    Made by :func:`changing`. Law: as long as it is held there is no unfinished change.
    """

    directory: Path
    trust: TrustStore
    staging: Path
    """Where packages are put before they are installed; emptied when the folder is let go, unless a
    change was left unfinished."""

    @property
    def lock(self) -> Lock:
        return read_lock(self.directory)

    @property
    def unfinished(self) -> bool:
        """Whether a change has happened that could not be carried out; another must not follow."""
        return (self.directory / _OURS / _JOURNAL).exists()

    def commit(self, change: Change) -> None:
        """Make a change happen. Raises InstallError if the directory cannot be written."""
        with _told_as_problem(self.directory):
            for name in change.added:
                _sync(self.staging / name)
            _sync(self.staging)
            document = change.model_dump(mode="json", exclude_none=True)
            _write(self.directory / _OURS / _JOURNAL, json.dumps(document).encode())
            _carry_out(self.directory, change, self.trust)


@contextmanager
def changing(
    directory: Path, trust: TrustStore, *, dry_run: bool = False
) -> Iterator[ExpertsFolder]:
    """The experts directory to ourselves, after what a killed process left undone is done.

    It is made if it is not there, but for a dry run, which must not commit. Raises InstallError if
    it cannot be written.
    """
    if dry_run and not (directory / _OURS).exists():
        # Nothing was ever installed there, so nothing is undone and nobody is at work.
        with tempfile.TemporaryDirectory(prefix="hive-dry-run-") as scratch:
            yield ExpertsFolder(directory, trust, Path(scratch))
        return
    with _told_as_problem(directory):
        (directory / _OURS).mkdir(parents=True, exist_ok=True)
        with (directory / _OURS / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _recover(directory, trust)
            folder = ExpertsFolder(directory, trust, directory / _OURS / _STAGED)
            folder.staging.mkdir()
            try:
                yield folder
            finally:
                # What was written down needs its packages: whoever comes next installs them.
                if not folder.unfinished:
                    shutil.rmtree(folder.staging, ignore_errors=True)


def settle(directory: Path, trust: TrustStore) -> None:
    """Do what a killed process left undone, unless one that lives is at work there now.

    For those who read an experts directory. Raises InstallError if it has to be written and cannot.
    """
    if not any((directory / _OURS / name).exists() for name in (_JOURNAL, _STAGED)):
        return
    with (
        _told_as_problem(directory),
        (directory / _OURS / _LOCK).open("w") as lock,
        suppress(BlockingIOError),
    ):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _recover(directory, trust)


def _recover(directory: Path, trust: TrustStore) -> None:
    journal = directory / _OURS / _JOURNAL
    for leftover in (directory / _OURS).glob(f".{_JOURNAL}.*"):
        leftover.unlink(missing_ok=True)
    for leftover in directory.glob(f".{LOCK_FILE}.*"):
        leftover.unlink(missing_ok=True)
    if journal.exists():
        document = read_json(journal.read_bytes(), str(journal), error=InstallError,
                             max_bytes=8 << 20)  # fmt: skip
        _carry_out(directory, build(Change, document, str(journal), error=InstallError), trust)
    shutil.rmtree(directory / _OURS / _STAGED, ignore_errors=True)


def _carry_out(directory: Path, change: Change, trust: TrustStore) -> None:
    """Each step may have been done before."""
    staging = directory / _OURS / _STAGED
    for name in change.added:
        with suppress(FileNotFoundError):
            (staging / name).rename(directory / name)
    # New versions and pins first: what trust remembers must not refuse what still lies there.
    if change.seen or change.pins:
        trust.edited(lambda store: _remembering(store, change))
    _write(directory / LOCK_FILE, change.lock.to_bytes())
    for name in set(change.removed) - set(change.added):
        (directory / name).unlink(missing_ok=True)
    _sync(directory)
    (directory / _OURS / _JOURNAL).unlink(missing_ok=True)
    _sync(directory / _OURS)


def _remembering(store: TrustStore, change: Change) -> TrustStore:
    for line, version in change.seen.items():
        store = store.having_seen(line, version)
    for name, pin in change.pins.items():
        store = store.with_pin(name, pin)
    return store


def _write(path: Path, data: bytes) -> None:
    """All of a file, or the old one stays."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o644)
    Path(temporary).replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told_as_problem(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        where = str(exc.filename or directory)
        raise InstallError(Problem(where, f"cannot be written: {exc.strerror}")) from exc
