"""Where verified packages are kept unpacked: one folder for each, named by its digest.

SPEC section 4.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from hive_expert.errors import PackageError
from hive_expert.package.folders import FolderStore
from hive_expert.package.layout import SIGNATURE, unsafe_path
from hive_expert.package.statement import package_digest


@dataclass(frozen=True, slots=True)
class PackageStore:
    """The store in one folder, private to the user.

    Laws: `<root>/<digest>` is complete if it exists; it holds the members that give this digest
    (`statement.package_digest`) and nothing else, or :meth:`find` drops it. Who signed them is not
    kept: whoever brings a package brings its signature. A second process may use the store at any
    time.
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

    def adopt(self, staged: Path, digest: str) -> Path:
        """The place of a complete staged folder, which goes there unless the same is there."""
        return self.find(digest) or self._folders.adopt(staged, digest)

    def has(self, digest: str) -> bool:
        """Whether there is a folder for it; :meth:`find` tells what it is worth."""
        return (self.root / digest).is_dir()

    def find(self, digest: str) -> Path | None:
        """The folder of a package, after its content was read from the disk anew.

        It stays there as long as this process lives. A folder whose content is no longer what was
        adopted (a failing disk, a helpful editor) is removed and not returned: trusting a mark
        that says "verified" would load whatever lies there now.
        """
        place = self._folders.hold(digest)
        if place is None:
            return None
        try:
            if package_digest(_hash_tree(place)) == digest:
                return place
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
    """The hash of every file below a folder. OSError if anything there is no signed member."""
    hashes = {}
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            relative = path.relative_to(root).as_posix()
            is_file = stat.S_ISREG(mode)
            if (
                not (is_file or stat.S_ISDIR(mode))
                or unsafe_path(relative)
                or relative == SIGNATURE
            ):
                raise OSError(f"{path} is no member")
            if is_file:
                with path.open("rb") as file:
                    hashes[relative] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
