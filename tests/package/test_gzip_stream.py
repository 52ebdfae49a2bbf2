"""Stored and deflated members are read alike, and only as they are written."""

from __future__ import annotations

import gzip
import random
from io import BytesIO

import pytest

from hive_expert.errors import ArchiveError
from hive_expert.package.gzip_stream import PIECE_BYTES, GzipReader, deflated, stored

HEADER = bytes(range(256)) * 2  # as long as that of an archive's member
NOISE = random.Random(0).randbytes(3 * PIECE_BYTES + 77)


class Drops:
    """A file that gives as few bytes at a time as it likes."""

    def __init__(self, data: bytes, most: int) -> None:
        self._file = BytesIO(data)
        self._most = most

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._most))


def member(*chunks: bytes) -> bytes:
    return b"".join(stored((HEADER, *chunks)))


def unpacked(data: bytes, most: int = 1 << 30, size: int = 10_000) -> bytes:
    reader = GzipReader(Drops(data, most), len(data), "p")
    parts = []
    while part := reader.read(size):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    "chunks",
    [(), (b"",), (b"x",), (NOISE[:65_535],), (NOISE[:65_536],), (NOISE,), (NOISE, NOISE[:1000])],
)
def test_what_was_stored_is_read_as_by_gzip(chunks: tuple[bytes, ...]) -> None:
    data = member(*chunks)
    assert unpacked(data) == gzip.decompress(data) == b"".join((HEADER, *chunks))


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7, 511, 65_541])
def test_how_the_file_is_cut_makes_no_difference(most: int) -> None:
    data = member(b"hello", NOISE[:2000]) + deflated(b"world" * 100) + member(b"!")
    assert unpacked(data, most) == gzip.decompress(data)


def test_chunks_are_the_stream_in_one_buffer_and_in_several() -> None:
    data, content = member(NOISE) + deflated(NOISE), HEADER + NOISE + NOISE
    reader = GzipReader(BytesIO(data), len(data), "p")
    assert b"".join(map(bytes, reader.chunks(len(content)))) == content
    buffers = []

    def take() -> bytearray:
        buffers.append(bytearray(PIECE_BYTES))
        return buffers[-1]

    reader = GzipReader(BytesIO(data), len(data), "p", take)
    chunks = list(reader.chunks(len(content)))
    assert b"".join(chunks) == content
    assert len(buffers) > 1
    assert reader.read(1) == b""


def refused(data: bytes) -> str:
    with pytest.raises(ArchiveError) as caught:
        unpacked(data)
    return caught.value.problems[0].what


def test_a_stored_member_cut_anywhere_is_refused() -> None:
    data = member(b"hello")
    for length in range(10, len(data)):
        assert refused(data[:length]) in (
            "ends in the middle of a gzip member",
            "a gzip checksum does not fit",
        )


@pytest.mark.parametrize("bit", range(8))
def test_a_block_that_is_not_stored_is_refused_among_stored_ones(bit: int) -> None:
    data = bytearray(member(b"hello"))
    data[10 + 5 + 512] ^= 1 << bit  # the first byte of the second block
    assert refused(bytes(data)) in ("holds damaged gzip data", "a gzip checksum does not fit")


@pytest.mark.parametrize("position", range(1, 5))
def test_a_length_that_differs_from_its_complement_is_refused(position: int) -> None:
    data = bytearray(member(b"hello"))
    data[10 + 5 + 512 + position] ^= 1
    assert refused(bytes(data)) == "holds damaged gzip data"


def test_another_checksum_is_refused() -> None:
    data = bytearray(member(b"hello"))
    data[-8] ^= 1
    assert refused(bytes(data)) == "a gzip checksum does not fit"


@pytest.mark.parametrize(("blocks", "fine"), [(50, True), (5000, False)])
def test_a_flood_of_tiny_blocks_is_refused(blocks: int, fine: bool) -> None:
    data = member(*[b"x"] * blocks)
    if fine:
        assert unpacked(data) == HEADER + b"x" * blocks
    else:
        assert refused(data) == "is cut into too many blocks"
