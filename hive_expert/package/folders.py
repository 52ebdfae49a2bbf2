"""Folders that are complete or not there, in a place that any number of processes share.

A folder is filled beside its place and put there by one rename, and taken away by one rename
before it is emptied: whoever dies at whatever moment leaves the old state or the new one, and
what he left half done is cleared by the next who comes. SPEC section 4.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from hive_expert.errors import HiveError, Problem

_STAGING = "staging"
_SHARED = ".shared"
_LOCK = "lock"
_HOLDERS = "holders"


@dataclass(frozen=True, slots=True)
class _Note:
    """The file in which a process notes what it holds, locked until it ends, however it ends."""

    descriptor: int
    names: set[str]


# By process and store. Notes outlive the objects that wrote them, as the use of a folder may.
_notes: dict[tuple[int, Path], _Note] = {}


@dataclass(frozen=True, slots=True)
class FolderStore:
    """The folders below ``root``, by name. Failures of the file system are raised as ``error``.

    Laws: `<root>/<name>` is complete as long as it is there, whoever crashes or competes; and
    what a living process has adopted or held, and not let go, is not collected.
    """

    root: Path
    error: type[HiveError]

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A private folder to fill; it is gone afterwards unless :meth:`adopt` took it."""
        with self._locked():
            self._clear_abandoned()
            folder = Path(tempfile.mkdtemp(dir=self.root / _STAGING))
            descriptor = _lock_of(folder)  # the lock shows that its process lives
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)

    def adopt(self, staged: Path, name: str) -> Path:
        """Give a complete staged folder its place, hold it, and return the place.

        If another process was faster with the same name, its folder stays.
        """
        _sync(staged)
        place = self.root / name
        with self._locked():
            try:
                staged.rename(place)
            except OSError as exc:
                if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            self._hold(name)
            _sync_folder(self.root)
        return place

    def hold(self, name: str) -> Path | None:
        """The folder, not to be collected as long as this process lives; None if it is not there.

        Holding it counts as using it.
        """
        place = self.root / name
        if not place.is_dir():
            return None
        with self._locked():
            if not place.is_dir():
                return None
            self._hold(name)
            return place

    def let_go(self, name: str) -> None:
        """Hold a folder no longer: it is unused from now on, and may be collected in time."""
        note = _notes.get((os.getpid(), self.root.absolute()))
        if note is None or name not in note.names:
            return
        with self._locked():
            _unnote(note, name)
            with suppress(FileNotFoundError):
                os.utime(self.root / name)

    def drop(self, name: str) -> None:
        """Hold a folder no longer, and take it away unless another living process holds it."""
        note = _notes.get((os.getpid(), self.root.absolute()))
        with self._locked():
            if note is not None:
                _unnote(note, name)
            if name in self._held():
                return
            gone = self._take_away(name)
        shutil.rmtree(gone, ignore_errors=True)

    def names(self) -> set[str]:
        """The folders that are there."""
        if not self.root.is_dir():
            return set()
        found = {entry.name for entry in os.scandir(self.root) if entry.is_dir()}
        return found - {_STAGING, _SHARED}

    def discard(self, name: str) -> None:
        """Take a folder away, held or not: for what turned out to be damaged."""
        with self._locked():
            gone = self._take_away(name)
        shutil.rmtree(gone, ignore_errors=True)

    def collect(
        self, keep: Collection[str] = (), *, unused_for: timedelta = timedelta(0)
    ) -> tuple[str, ...]:
        """Remove what nobody needs, and what crashed processes left; returns the removed names.

        Kept are the folders named in ``keep``, those that a living process holds, and those that
        were used within ``unused_for``.
        """
        if not self.root.is_dir():
            return ()
        latest = time.time() - unused_for.total_seconds()
        with self._locked():
            self._clear_abandoned()
            needed = {*keep, *self._held()}
            removed = [
                name
                for name in sorted(self.names() - needed)
                if (self.root / name).stat().st_mtime <= latest
            ]
            taken = [self._take_away(name) for name in removed]
        for folder in taken:
            shutil.rmtree(folder, ignore_errors=True)
        return tuple(removed)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The store to ourselves, for steps that take no time to speak of."""
        try:
            for part in (self.root / _STAGING, self.root / _SHARED / _HOLDERS):
                part.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.root.chmod(0o700)
            lock = os.open(self.root / _SHARED / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise self.error(
                Problem(str(self.root), f"cannot be written: {exc.strerror}", "set HIVE_HOME")
            ) from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _hold(self, name: str) -> None:
        os.utime(self.root / name)
        key = (os.getpid(), self.root.absolute())
        if key not in _notes:
            descriptor, _ = tempfile.mkstemp(dir=self.root / _SHARED / _HOLDERS)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _notes[key] = _Note(descriptor, set())
        note = _notes[key]
        if name not in note.names:
            os.write(note.descriptor, f"{name}\n".encode())
            note.names.add(name)

    def _held(self) -> set[str]:
        """What living processes hold; the notes of dead ones are removed."""
        names: set[str] = set()
        for note in (self.root / _SHARED / _HOLDERS).iterdir():
            with note.open("rb") as file:
                if _is_abandoned(file.fileno()):
                    note.unlink()
                else:
                    names.update(file.read().decode().split())
        return names

    def _take_away(self, name: str) -> Path:
        """Move a folder out of its place, to where it is cleared if we die now."""
        gone = Path(tempfile.mkdtemp(dir=self.root / _STAGING))
        with suppress(FileNotFoundError):  # another process was faster
            (self.root / name).rename(gone / name)
        return gone

    def _clear_abandoned(self) -> None:
        for folder in (self.root / _STAGING).iterdir():
            try:
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                continue  # its process has just removed it, or it is a stray file
            try:
                if _is_abandoned(descriptor):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _unnote(note: _Note, name: str) -> None:
    note.names.discard(name)
    os.ftruncate(note.descriptor, 0)
    os.lseek(note.descriptor, 0, os.SEEK_SET)
    os.write(note.descriptor, "".join(f"{n}\n" for n in sorted(note.names)).encode())


def _lock_of(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _is_abandoned(descriptor: int) -> bool:
    """Whether the process that locked the file is dead."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync(root: Path) -> None:
    """Put files and folders on the disk: a rename must not outlive what it names."""
    for folder, _, names in os.walk(root):
        for name in names:
            with Path(folder, name).open("rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(folder))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
