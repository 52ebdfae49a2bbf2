"""Where verified packages are kept unpacked: one folder for each, named by its digest.

A folder gets its name by a single rename once everything in it is on the disk, so a crash
leaves the old state or the new one. SPEC section 4.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hive_expert.errors import PackageError, Problem

SUMS = ".sha256sums"
_STAGING = "staging"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class PackageStore:
    """The store in one folder, private to the user.

    Laws: `<root>/<digest>` is complete if it exists; its content hashes to the sums kept
    with it, or :meth:`find` drops it. A second process may use the store at any time.
    """

    root: Path

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder to unpack into; it is gone afterwards unless :meth:`adopt` took it.

        What a crashed process left behind is cleared first.
        """
        area = self.root / _STAGING
        try:
            area.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.root.chmod(0o700)
            _clear_abandoned(area)
            folder = Path(tempfile.mkdtemp(dir=area))
        except OSError as exc:
            raise PackageError(
                Problem(str(area), f"cannot be written: {exc.strerror}", "set HIVE_HOME")
            ) from exc
        with _locked(folder):
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def adopt(self, staged: Path, digest: str, hashes: Mapping[str, str]) -> Path:
        """Give a complete staged folder its place, and return that.

        ``hashes``, of every file in it, are kept with it for :meth:`find`.
        """
        (staged / SUMS).write_text(_sums(hashes), encoding="ascii")
        _sync(staged)
        place = self.root / digest
        try:
            staged.rename(place)
        except OSError as exc:
            if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            return place  # another process was faster with the same content
        _sync_folder(self.root)
        return place

    def find(self, digest: str) -> tuple[Path, dict[str, str]] | None:
        """The folder of a package, and the hash of each member, read from the disk anew.

        A folder whose content is no longer what was adopted (a failing disk, a helpful editor)
        is removed and not returned: trusting a mark that says "verified" would load whatever
        lies there now.
        """
        place = self.root / digest
        if not place.is_dir():
            return None
        try:
            hashes = _hash_tree(place)
            if (place / SUMS).read_bytes() == _sums(hashes).encode():
                return place, hashes
        except OSError:
            pass  # what cannot be read is damaged too
        shutil.rmtree(place, ignore_errors=True)
        return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Show other processes that the folder is in use; the lock ends with the process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear_abandoned(area: Path) -> None:
    for folder in area.iterdir():
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # it was just taken or removed
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # its process lives
        finally:
            os.close(descriptor)


def _hash_tree(root: Path) -> dict[str, str]:
    hashes = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if relative != SUMS:
                with path.open("rb") as file:
                    hashes[relative] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def _sums(hashes: Mapping[str, str]) -> str:
    return "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes))


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
