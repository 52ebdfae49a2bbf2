"""A signed package that lies unpacked, as `tar -xzf` leaves it. SPEC section 11.

It has the members of a package and its `signature.sig`, and nothing else. It is packed again as it
is, so that the one reader of packages checks it all, and nothing reads the folder after that.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hive_expert.errors import ArchiveError, PackageError, Problem
from hive_expert.package.archive import MAX_MEMBERS, Entry, write_archive
from hive_expert.package.examine import examine_declared
from hive_expert.package.gzip_stream import MAX_UNPACKED_BYTES
from hive_expert.package.layout import SIGNATURE, is_weights, max_bytes, unexpected_member
from hive_expert.package.skim import Skimmed
from hive_expert.package.unpack import DOCUMENTS, Unpacked, reading

_FOLDERS = frozenset({"adapter", "soft_prompts", "tests"})


def is_signed(folder: Path) -> bool:
    """Whether a folder says that it is one. Those without a signature are for development."""
    return os.path.lexists(folder / SIGNATURE)


def skim_folder(folder: Path) -> Skimmed:
    """Read all of it but its weights; see `package.skim`.

    Raises ArchiveError, PackageError or ManifestError, as :func:`packed` and `open_package` would.
    """
    with _readable(folder):
        sizes = _sizes(folder)
        contents = {path: _read(folder, path) for path in sizes if not is_weights(path)}
    seen = Unpacked(
        {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()},
        sizes,
        {path: content for path, content in contents.items() if path in DOCUMENTS},
        {},
    )
    examined = examine_declared(seen, folder.name)
    return Skimmed(examined.manifest, examined.facts)


@contextmanager
def packed(folder: Path) -> Iterator[Path]:
    """A package file of what the folder holds, for `open_package`; gone after the block.

    Raises ArchiveError for what no package holds, and PackageError for what cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="hive-unpacked-") as temporary:
        path = Path(temporary, folder.name)
        with _readable(folder), path.open("wb") as file:
            entries = [
                Entry(member, folder / member if is_weights(member) else _read(folder, member))
                for member in _sizes(folder)
            ]
            write_archive(entries, file, mtime=0)
        yield path


def _sizes(folder: Path) -> dict[str, int]:
    """The size of each member. The reader of packages would refuse the rest as well, but after it
    had all been copied."""
    sizes: dict[str, int] = {}
    for root, folders, names in os.walk(folder):
        for path in (Path(root, name) for name in (*folders, *names)):
            member, status = path.relative_to(folder).as_posix(), path.lstat()
            shown = f"{folder.name}/{member}"
            if stat.S_ISDIR(status.st_mode) and member in _FOLDERS:
                continue
            if reason := unexpected_member(member):
                raise ArchiveError(Problem(shown, reason, f"remove it; {SIGNATURE} allows no more"))
            if not stat.S_ISREG(status.st_mode):
                raise ArchiveError(Problem(shown, "is not a regular file"))
            if status.st_size > max_bytes(member):
                what = f"has {status.st_size} bytes, more than the {max_bytes(member)} allowed"
                raise ArchiveError(Problem(shown, what))
            sizes[member] = status.st_size
            if len(sizes) > MAX_MEMBERS or sum(sizes.values()) > MAX_UNPACKED_BYTES:
                raise ArchiveError(Problem(folder.name, "is larger than a package may be"))
    return sizes


def _read(folder: Path, member: str) -> bytes:
    with reading(folder / member) as file:
        return file.read(max_bytes(member) + 1)


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        shown = str(error.filename or folder)
        raise PackageError(Problem(shown, error.strerror or "cannot be read")) from error
