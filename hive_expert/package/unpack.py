"""From a package file to its members in a private folder, hashed on the way. SPEC section 4."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from hive_expert.errors import ArchiveError, PackageError, Problem
from hive_expert.package.archive import Member, read_archive
from hive_expert.package.gzip_stream import MAX_UNPACKED_BYTES
from hive_expert.package.layout import is_weights

# gzip adds 5 bytes to each 64 KiB it stores, so a packed file is hardly larger than its content.
MAX_PACKED_BYTES = MAX_UNPACKED_BYTES + (1 << 20)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Members in a private folder, each with the hash of the bytes written there.

    Nothing about them is believed yet.
    """

    digest: str
    directory: Path
    hashes: Mapping[str, str]


@contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """The package file, open. A failing read or write in the block becomes a PackageError."""
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise PackageError(Problem(str(path), "is not a file"))
            if state.st_size > MAX_PACKED_BYTES:
                raise ArchiveError(
                    Problem(path.name, f"is larger than the {MAX_PACKED_BYTES} bytes allowed")
                )
            yield file
    except OSError as exc:
        problem = Problem(str(exc.filename or path), exc.strerror or "cannot be read")
        raise PackageError(problem) from exc


def file_digest(file: BufferedReader) -> str:
    """SHA-256 of the whole file, which is then back at its start."""
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest


def unpack(file: BufferedReader, folder: Path, where: str) -> Unpacked:
    """Write the members below ``folder``, hashing them and the file itself.

    Raises ArchiveError at the first thing that is not in the format; ``folder`` is then to be
    thrown away.
    """
    hashing = _Hashing(file)
    packed_bytes = os.fstat(file.fileno()).st_size
    hashes = {
        member.path: _receive(member, folder, where)
        for member in read_archive(hashing, packed_bytes, where)
    }
    return Unpacked(hashing.hash.hexdigest(), folder, hashes)


class _Hashing:
    """A file that hashes what is read from it."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


def _receive(member: Member, folder: Path, where: str) -> str:
    """Write one member and return its hash. Its name was checked by the archive reader."""
    target = folder / member.path
    target.parent.mkdir(exist_ok=True, mode=0o700)
    sha256 = hashlib.sha256()
    text = None if is_weights(member.path) else codecs.getincrementaldecoder("utf-8")()
    try:
        with target.open("xb") as file:
            target.chmod(0o400)
            for chunk in member.chunks:
                sha256.update(chunk)
                file.write(chunk)
                if text is not None:
                    text.decode(chunk)
        if text is not None:
            text.decode(b"", final=True)
    except UnicodeDecodeError as exc:
        raise ArchiveError(Problem(f"{where}: {member.path}", "is not UTF-8 text")) from exc
    return sha256.hexdigest()
