"""Where verified packages are kept unpacked: one folder for each, named by its digest.

SPEC section 4.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from hive_expert.errors import PackageError
from hive_expert.package.folders import FolderStore

SUMS = ".sha256sums"


@dataclass(frozen=True, slots=True)
class PackageStore:
    """The store in one folder, private to the user.

    Laws: `<root>/<digest>` is complete if it exists; its content hashes to the sums kept
    with it, or :meth:`find` drops it. A second process may use the store at any time.
    """

    root: Path

    @property
    def _folders(self) -> FolderStore:
        return FolderStore(self.root, PackageError)

    def staging(self) -> AbstractContextManager[Path]:
        """A folder to unpack into; it is gone afterwards unless :meth:`adopt` took it.

        What a crashed process left behind is cleared first.
        """
        return self._folders.staging()

    def adopt(self, staged: Path, digest: str, hashes: Mapping[str, str]) -> Path:
        """Give a complete staged folder its place, and return that.

        ``hashes``, of every file in it, are kept with it for :meth:`find`.
        """
        (staged / SUMS).write_text(_sums(hashes), encoding="ascii")
        return self._folders.adopt(staged, digest)

    def find(self, digest: str) -> tuple[Path, dict[str, str]] | None:
        """The folder of a package, and the hash of each member, read from the disk anew.

        It stays there as long as this process lives. A folder whose content is no longer what was
        adopted (a failing disk, a helpful editor) is removed and not returned: trusting a mark
        that says "verified" would load whatever lies there now.
        """
        place = self._folders.hold(digest)
        if place is None:
            return None
        try:
            hashes = _hash_tree(place)
            if (place / SUMS).read_bytes() == _sums(hashes).encode():
                return place, hashes
        except OSError:
            pass  # what cannot be read is damaged too
        self._folders.discard(digest)
        return None

    def let_go(self, digest: str) -> None:
        """This process has no use for a package any more; see :meth:`find`."""
        self._folders.let_go(digest)

    def collect(
        self, keep: Collection[str] = (), *, unused_for: timedelta = timedelta(0)
    ) -> tuple[str, ...]:
        """Remove packages and leftovers that nobody needs; returns the digests removed.

        Kept are those in ``keep``, those that any living process has opened, and those that were
        opened within ``unused_for``. A removed package is unpacked again when it is opened.
        """
        return self._folders.collect(keep, unused_for=unused_for)


def _hash_tree(root: Path) -> dict[str, str]:
    """The hash of every file below a folder. OSError if there is anything but files and folders."""
    hashes = {}
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise OSError(errno.EINVAL, "is no file", str(path))
            relative = path.relative_to(root).as_posix()
            if stat.S_ISREG(mode) and relative != SUMS:
                with path.open("rb") as file:
                    hashes[relative] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def _sums(hashes: Mapping[str, str]) -> str:
    return "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes))
