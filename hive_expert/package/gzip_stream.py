"""The gzip layer of a package: written in one way only, read strictly and within limits.

A package is a row of gzip members, which `gzip -d` and `tar -z` read as one stream. Text is
deflated; weights are stored, since they hardly compress and inflating is what opening a package
would otherwise spend its time on. SPEC section 4; RFC 1951 and 1952.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Generator, Iterable, Iterator
from typing import Protocol

from isal import igzip_lib, isal_zlib

from hive_expert.errors import ArchiveError, Problem

MAX_UNPACKED_BYTES = 2 << 30
MAX_RATIO = 200
MAX_GZIP_MEMBERS = 65  # one for each of at most 64 files, and one for the end of the archive

# Deflate, no name, no time, no flags, "unknown" operating system.
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_TRAILER_BYTES = 8
_STORED_BLOCK = 65_535
_READ = 256 << 10


def deflated(data: bytes) -> bytes:
    """One gzip member holding ``data``, compressed."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join((_HEADER, compressor.compress(data), compressor.flush(), _trailer(data)))


def stored(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One gzip member holding the joined ``chunks``, not compressed, piece by piece."""
    yield _HEADER
    crc = size = 0
    for chunk in chunks:
        crc = _crc32(chunk, crc)
        size += len(chunk)
        for start in range(0, len(chunk), _STORED_BLOCK):
            block = chunk[start : start + _STORED_BLOCK]
            yield b"\x00" + _stored_lengths(len(block)) + block
    yield b"\x01" + _stored_lengths(0)
    yield crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


class Readable(Protocol):
    """What a package is read from."""

    def read(self, size: int, /) -> bytes: ...


class GzipReader:
    """Reads the members of a gzip file as one stream, in constant memory.

    Every member must have the fixed header, its checksum and its size; nothing may follow the
    last one. More than 2 GiB, or more than 200 times the file's own size, is refused as soon as
    it shows. All failures are ArchiveErrors.
    """

    def __init__(self, file: Readable, packed_bytes: int, where: str) -> None:
        self._file = file
        self._where = where
        self._limit = min(MAX_UNPACKED_BYTES, MAX_RATIO * packed_bytes)
        self._plain = self._members()
        self._buffer = memoryview(b"")
        self._unpacked = 0

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes, or fewer at the end of the stream."""
        parts = []
        while size > 0 and self._fill():
            parts.append(self._buffer[:size])
            self._buffer = self._buffer[size:]
            size -= len(parts[-1])
        return b"".join(parts)

    def chunks(self, size: int) -> Iterator[memoryview]:
        """The next ``size`` bytes, without copying; ArchiveError if the stream ends before."""
        while size > 0:
            if not self._fill():
                raise self._error("ends in the middle of a member")
            chunk = self._buffer[:size]
            self._buffer = self._buffer[len(chunk) :]
            size -= len(chunk)
            yield chunk

    def _fill(self) -> bool:
        while not self._buffer:
            if (plain := next(self._plain, None)) is None:
                return False
            self._unpacked += len(plain)
            if self._unpacked > self._limit:
                raise self._error(
                    f"unpacks to more than {self._limit} bytes"
                    f" (at most 2 GiB and {MAX_RATIO} times its own size)"
                )
            self._buffer = memoryview(plain)
        return True

    def _members(self) -> Iterator[bytes]:
        packed = self._more(b"", len(_HEADER))
        count = 0
        while packed:
            count += 1
            if count > MAX_GZIP_MEMBERS:
                # Each costs a copy of what was read ahead: many tiny ones would take forever.
                raise self._error(f"has more than {MAX_GZIP_MEMBERS} gzip members")
            if packed[: len(_HEADER)] != _HEADER:
                raise self._error(
                    "is not gzip as hive-build writes it", "build the package with hive-build"
                )
            packed = yield from self._one_member(packed[len(_HEADER) :])

    def _one_member(self, packed: bytes) -> Generator[bytes, None, bytes]:
        """Yield a member's content; return what was read past its end."""
        inflater = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
        crc = size = 0
        while not inflater.eof:
            if inflater.needs_input and not packed:
                packed = self._file.read(_READ)
                if not packed:
                    raise self._error("ends in the middle of a gzip member")
            try:
                plain = inflater.decompress(packed, max_length=_READ)
            except igzip_lib.error as exc:  # type: ignore[misc]  # the stub says it is a value
                raise self._error("holds damaged gzip data", "get the package again") from exc
            packed = b""
            crc = _crc32(plain, crc)
            size += len(plain)
            if plain:
                yield plain
        rest = self._more(inflater.unused_data, _TRAILER_BYTES)
        expected = crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
        if rest[:_TRAILER_BYTES] != expected:
            raise self._error("a gzip checksum does not fit", "get the package again")
        return self._more(rest[_TRAILER_BYTES:], len(_HEADER))

    def _more(self, held: bytes, wanted: int) -> bytes:
        """``held``, read on to at least ``wanted`` bytes if the file has as many."""
        while len(held) < wanted and (read := self._file.read(_READ)):
            held += read
        return held

    def _error(self, what: str, remedy: str = "") -> ArchiveError:
        return ArchiveError(Problem(self._where, what, remedy))


def _crc32(data: bytes, crc: int) -> int:
    """CRC-32, six times as fast as zlib's.

    ISA-L's routine leaves the upper halves of the vector registers in use, and as long as they
    are, here and in threads started from here, OpenSSL's SHA-256 loses a quarter of its speed.
    Its SHA-512 ends with the instruction that clears them.
    """
    crc = isal_zlib.crc32(data, crc)
    hashlib.sha512(b"").digest()
    return crc


def _trailer(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")


def _stored_lengths(length: int) -> bytes:
    return length.to_bytes(2, "little") + (length ^ 0xFFFF).to_bytes(2, "little")
