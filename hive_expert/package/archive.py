"""The container of a package: a ustar archive in one canonical form. SPEC section 4.

The reader takes nothing but what the writer writes: regular files in byte order of their safe
names, with fixed owner and mode. Python's tarfile would also follow pax and GNU extensions,
links, and the last of two members of one name; none of that exists here. A member's header is
read, built anew from the few values it may hold, and compared, so there is no field in which
two readers could see different things.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hive_expert.errors import ArchiveError, Problem
from hive_expert.package.gzip_stream import GzipReader, Readable, deflated, stored
from hive_expert.package.layout import (
    is_weights,
    max_bytes,
    unexpected_member,
    unsafe_path,
)

MAX_MEMBERS = 64
MAX_PADDING_BLOCKS = 20  # two blocks end an archive; other writers fill a record of twenty

_BLOCK = 512
_CHUNK = 1 << 20
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a directory",
    b"6": "a FIFO",
    b"7": "a contiguous file",
    b"g": "a pax header",
    b"x": "a pax header",
    b"L": "a GNU long name",
    b"K": "a GNU long link",
    b"S": "a sparse file",
    b"V": "a volume label",
    b"M": "a multi-volume part",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A member to be written: its path in the package, and its content or the file that has it."""

    path: str
    content: bytes | Path

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def chunks(self) -> Iterator[bytes]:
        if isinstance(self.content, bytes):
            yield self.content
            return
        with self.content.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


@dataclass(frozen=True, slots=True)
class Member:
    """A member being read; its ``chunks`` must be taken before the next member."""

    path: str
    size: int
    chunks: Iterator[memoryview]


def write_archive(entries: Iterable[Entry], output: BinaryIO, *, mtime: int) -> None:
    """Write the members, sorted by path, as the gzip'd archive of a package.

    Law: the same entries and ``mtime`` (seconds since 1970) give the same bytes, and
    :func:`read_archive` gives the entries back. Names are the caller's to check.
    """
    for entry in sorted(entries, key=lambda e: e.path):
        head, padding = _header(entry.path, entry.size, mtime), bytes(-entry.size % _BLOCK)
        if is_weights(entry.path):
            for piece in stored(_joined(head, entry.chunks(), padding)):
                output.write(piece)
        else:
            output.write(deflated(b"".join((head, *entry.chunks(), padding))))
    output.write(deflated(bytes(2 * _BLOCK)))


def read_archive(
    file: Readable,
    packed_bytes: int,
    where: str,
    *,
    take: Callable[[], bytearray] | None = None,
) -> Iterator[Member]:
    """Read a package's members in order, streaming; ``packed_bytes`` is the file's size.

    A chunk of a member is good until the next is taken, or as long as its buffer, if ``take``
    gives the buffers.

    Raises ArchiveError at the first thing that is not as :func:`write_archive` writes it, that
    is no member of the format, or that is beyond a limit. Members that were yielded before have
    been read by then: their receiver must not use them until the iteration has ended.
    """
    stream = GzipReader(file, packed_bytes, where, take)
    previous, count = "", 0
    seen: set[str] = set()
    while True:
        block = stream.read(_BLOCK)
        if len(block) < _BLOCK:
            raise _error(where, "ends without an end-of-archive mark", "get the package again")
        if block == bytes(_BLOCK):
            return _expect_end(stream, where)
        path, size = parse_header(block, where)
        _check_name(path, size, previous, seen, where)
        count += 1
        if count > MAX_MEMBERS:
            raise _error(where, f"has more than {MAX_MEMBERS} members")
        previous = path
        seen.add(path.casefold())
        member = Member(path, size, stream.chunks(size))
        yield member
        for _ in member.chunks:
            raise AssertionError("a member was left unread")
        if any(stream.read(-size % _BLOCK)):
            raise _error(f"{where}: {path}", "hides data in its padding")


def parse_header(block: bytes, where: str) -> tuple[str, int]:
    """The path and size that a member's canonical header gives. Raises ArchiveError."""
    if block[257:265] != b"ustar\x0000":
        raise _error(where, "is not a ustar archive", "build the package with hive-build")
    name = block[:100].rstrip(b"\0")
    prefix = block[345:500].rstrip(b"\0")
    path = (prefix + b"/" + name if prefix else name).decode("ascii", errors="replace")
    shown = f"{where}: {_printable(path)}"
    kind = block[156:157]
    if kind != b"0":
        raise _error(shown, f"is {_KINDS.get(kind, 'not a regular file')}, not a regular file")
    size, mtime = _octal(block[124:136]), _octal(block[136:148])
    if size is None or mtime is None:
        raise _error(shown, "has a damaged size or time")
    if reason := unsafe_path(path):
        raise _error(shown, f"the name {reason}")
    if block != _header(path, size, mtime):
        raise _error(shown, "the header is damaged or not in the canonical form")
    return path, size


def _check_name(path: str, size: int, previous: str, seen: set[str], where: str) -> None:
    shown = f"{where}: {path}"
    if path == previous:
        raise _error(shown, "is there twice")
    if path.casefold() in seen:
        raise _error(shown, "is there twice, or differs from another member in case only")
    if path < previous:
        raise _error(shown, f"comes after {previous}; members are in byte order")
    if reason := unexpected_member(path):
        raise _error(shown, reason)
    if size > max_bytes(path):
        raise _error(shown, f"has {size} bytes, more than the {max_bytes(path)} allowed")


def _expect_end(stream: GzipReader, where: str) -> None:
    """One block of zeros was read: one more must follow, and nothing else after them."""
    rest = stream.read(_BLOCK * MAX_PADDING_BLOCKS)
    if len(rest) % _BLOCK or not _BLOCK <= len(rest) < _BLOCK * MAX_PADDING_BLOCKS:
        raise _error(where, "does not end as an archive does")
    if any(rest):
        raise _error(where, "has data after its end")


def _header(path: str, size: int, mtime: int) -> bytes:
    """The canonical ustar header: mode 0644, owner 0 without a name."""
    prefix, name = _split(path)
    before = b"".join(
        (
            name.ljust(100, b"\0"),
            b"0000644\0",
            b"0000000\0",
            b"0000000\0",
            b"%011o\0" % size,
            b"%011o\0" % mtime,
        )
    )
    after = b"".join(
        (
            b"0",
            bytes(100),
            b"ustar\x0000",
            bytes(64),
            bytes(16),
            prefix.ljust(155, b"\0"),
            bytes(12),
        )
    )
    checksum = sum(before) + 8 * ord(" ") + sum(after)
    return b"%b%06o\0 %b" % (before, checksum, after)


def _split(path: str) -> tuple[bytes, bytes]:
    """ustar's prefix and name: as much in the name as fits into its 100 bytes."""
    raw = path.encode("ascii")
    if len(raw) <= 100:
        return b"", raw
    cut = raw.find(b"/", len(raw) - 101)
    if cut < 1 or cut > 155:
        raise _error(path, "is too long for one of its parts")
    return raw[:cut], raw[cut + 1 :]


def _octal(field: bytes) -> int | None:
    digits = field[:-1]
    if field[-1:] != b"\0" or not digits.isdigit() or b"8" in digits or b"9" in digits:
        return None
    return int(digits, 8)


def _joined(head: bytes, chunks: Iterable[bytes], padding: bytes) -> Iterator[bytes]:
    yield head
    yield from chunks
    yield padding


def _printable(path: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in path[:200])


def _error(where: str, what: str, remedy: str = "") -> ArchiveError:
    return ArchiveError(Problem(where, what, remedy))
