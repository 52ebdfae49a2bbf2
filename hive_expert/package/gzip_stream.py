"""The gzip layer of a package: written in one way only, read strictly and within limits.

A package is a row of gzip members, which `gzip -d` and `tar -z` read as one stream. Text is
deflated; weights are stored, since they hardly compress and inflating is what opening a package
would otherwise spend its time on. SPEC section 4; RFC 1951 and 1952.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Protocol

from isal import igzip_lib, isal_zlib

from hive_expert.errors import ArchiveError, Problem

MAX_UNPACKED_BYTES = 2 << 30
MAX_RATIO = 200
MAX_GZIP_MEMBERS = 65  # one for each of at most 64 files, and one for the end of the archive

HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no name, no time, no flags, "unknown" operating system."""
TRAILER_BYTES = 8
"""CRC-32 and size."""
_STORED_BLOCK = 65_535
_BLOCK_HEADER_BYTES = 5
_READ = 256 << 10
PIECE_BYTES = 256 << 10

# Stored blocks are read one by one, so that many tiny ones would take forever.
_LEAST_MEAN_BLOCK = 4096
_SMALL_BLOCKS = 64


def deflated(data: bytes) -> bytes:
    """One gzip member holding ``data``, compressed."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join((HEADER, compressor.compress(data), compressor.flush(), _trailer(data)))


def stored(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One gzip member holding the joined ``chunks``, not compressed, piece by piece."""
    yield HEADER
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

    def __init__(
        self,
        file: Readable,
        packed_bytes: int,
        where: str,
        take: Callable[[], bytearray] | None = None,
    ) -> None:
        """``take`` gives each piece its buffer, of PIECE_BYTES; without it, one serves for all."""
        self._file = file
        self._where = where
        self._limit = min(MAX_UNPACKED_BYTES, MAX_RATIO * packed_bytes)
        self._plain = self._members(take or _one_buffer())
        self._piece = memoryview(b"")
        self._unpacked = 0

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes, or fewer at the end of the stream."""
        parts = []
        while size > 0 and self._fill():
            parts.append(bytes(self._piece[:size]))
            self._piece = self._piece[size:]
            size -= len(parts[-1])
        return b"".join(parts)

    def chunks(self, size: int) -> Iterator[memoryview]:
        """The next ``size`` bytes, without copying: each chunk is good until the next is taken.

        ArchiveError if the stream ends before.
        """
        while size > 0:
            if not self._fill():
                raise self._error("ends in the middle of a member")
            chunk = self._piece[:size]
            self._piece = self._piece[len(chunk) :]
            size -= len(chunk)
            yield chunk

    def _fill(self) -> bool:
        while not self._piece:
            if (piece := next(self._plain, None)) is None:
                return False
            self._unpacked += len(piece)
            if self._unpacked > self._limit:
                raise self._error(
                    f"unpacks to more than {self._limit} bytes"
                    f" (at most 2 GiB and {MAX_RATIO} times its own size)"
                )
            self._piece = piece
        return True

    def _members(self, take: Callable[[], bytearray]) -> Iterator[memoryview]:
        """The content of all gzip members; each piece is in a buffer from ``take``."""
        packed = self._more(b"", len(HEADER))
        count = 0
        while packed:
            count += 1
            if count > MAX_GZIP_MEMBERS:
                # Each costs a copy of what was read ahead: many tiny ones would take forever.
                raise self._error(f"has more than {MAX_GZIP_MEMBERS} gzip members")
            if packed[: len(HEADER)] != HEADER:
                raise self._error(
                    "is not gzip as hive-build writes it", "build the package with hive-build"
                )
            packed = yield from self._one_member(packed[len(HEADER) :], take)

    def _one_member(
        self, packed: bytes, take: Callable[[], bytearray]
    ) -> Generator[memoryview, None, bytes]:
        """Yield a member's content; return what was read past its end."""
        packed = self._more(packed, len(_STORED_MEMBER))
        is_stored = packed[: len(_STORED_MEMBER)] == _STORED_MEMBER
        content = (self._stored if is_stored else self._inflated)(packed, take)
        crc = size = 0
        while True:
            try:
                piece = next(content)
            except StopIteration as end:
                rest = self._more(end.value, TRAILER_BYTES)
                break
            crc = _crc32(piece, crc)
            size += len(piece)
            yield piece
        expected = crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
        if rest[:TRAILER_BYTES] != expected:
            raise self._error("a gzip checksum does not fit", "get the package again")
        return self._more(rest[TRAILER_BYTES:], len(HEADER))

    def _inflated(
        self, packed: bytes, take: Callable[[], bytearray]
    ) -> Generator[memoryview, None, bytes]:
        """Yield what any deflate stream holds; return what was read past its end."""
        inflater = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
        while not inflater.eof:
            if inflater.needs_input and not packed:
                packed = self._next()
            try:
                plain = inflater.decompress(packed, max_length=PIECE_BYTES)
            except igzip_lib.error as exc:  # type: ignore[misc]  # the stub says it is a value
                raise self._damaged() from exc
            packed = b""
            if plain:
                piece = memoryview(take())[: len(plain)]
                piece[:] = plain
                yield piece
        return inflater.unused_data

    def _stored(
        self, packed: bytes, take: Callable[[], bytearray]
    ) -> Generator[memoryview, None, bytes]:
        """The same for one that has stored blocks alone, in the form that :func:`stored` writes.

        The blocks are put together again: what is done with pieces takes a while to begin.
        """
        rest, piece, filled = memoryview(packed), memoryview(b""), 0
        blocks = total = 0
        final = False
        while not final:
            while len(rest) < _BLOCK_HEADER_BYTES:
                rest = memoryview(b"".join((rest, self._next())))
            final = rest[0] == 1
            length = int.from_bytes(rest[1:3], "little")
            if rest[:_BLOCK_HEADER_BYTES] != bytes((final,)) + _stored_lengths(length):
                raise self._damaged()
            rest = rest[_BLOCK_HEADER_BYTES:]
            blocks += 1
            total += length
            if too_many_blocks(blocks, total):
                raise self._error("is cut into too many blocks")
            while length:
                if not rest:
                    rest = memoryview(self._next())
                if not filled:
                    piece = memoryview(take())
                part = rest[: min(length, PIECE_BYTES - filled)]
                piece[filled : filled + len(part)] = part
                rest = rest[len(part) :]
                length -= len(part)
                filled += len(part)
                if filled == PIECE_BYTES:
                    yield piece
                    filled = 0
        if filled:
            yield piece[:filled]
        return bytes(rest)

    def _next(self) -> bytes:
        """The next bytes of the file, in the middle of a gzip member."""
        if not (packed := self._file.read(_READ)):
            raise self._error("ends in the middle of a gzip member")
        return packed

    def _more(self, held: bytes, wanted: int) -> bytes:
        """``held``, read on to at least ``wanted`` bytes if the file has as many."""
        while len(held) < wanted and (read := self._file.read(_READ)):
            held += read
        return held

    def _damaged(self) -> ArchiveError:
        return self._error("holds damaged gzip data", "get the package again")

    def _error(self, what: str, remedy: str = "") -> ArchiveError:
        return ArchiveError(Problem(self._where, what, remedy))


def too_many_blocks(blocks: int, total: int) -> bool:
    """Whether ``total`` stored bytes came in more blocks than an honest writer cuts them into."""
    return blocks > _SMALL_BLOCKS + total // _LEAST_MEAN_BLOCK


def _one_buffer() -> Callable[[], bytearray]:
    buffer = bytearray(PIECE_BYTES)
    return lambda: buffer


def _crc32(data: bytes | memoryview, crc: int) -> int:
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


# How a member begins that `stored` wrote of an archive's member: its header is a block by itself.
_STORED_MEMBER = b"\x00" + _stored_lengths(512)
