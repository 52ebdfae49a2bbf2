"""Reading ahead and hashing: nothing but the speed is different."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from hive_expert.package.hashing_reader import HashingReader

CHUNK = 256 << 10
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 4 * CHUNK, 5 * CHUNK + 7]


def read_all(reader: HashingReader, size: int) -> bytes:
    parts = []
    while part := reader.read(size):
        assert len(part) <= size
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("length", SIZES)
@pytest.mark.parametrize("size", [1000, CHUNK, 3 * CHUNK])
def test_it_gives_the_file_and_its_hash(tmp_path: Path, length: int, size: int) -> None:
    content = os.urandom(length)
    (tmp_path / "f").write_bytes(content)
    with (tmp_path / "f").open("rb") as file, HashingReader(file, length) as reader:
        assert read_all(reader, size) == content
    assert reader.hexdigest() == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("expected", [1, 100 * CHUNK])
def test_a_file_of_another_size_than_expected_is_read_to_its_end(
    tmp_path: Path, expected: int
) -> None:
    content = os.urandom(3 * CHUNK)
    (tmp_path / "f").write_bytes(content)
    with (tmp_path / "f").open("rb") as file, HashingReader(file, expected) as reader:
        assert read_all(reader, CHUNK) == content
    assert reader.hexdigest() == hashlib.sha256(content).hexdigest()


def test_a_reader_that_stops_early_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(50 * CHUNK))
    before = threading.active_count()
    with (tmp_path / "f").open("rb") as file, HashingReader(file, 50 * CHUNK) as reader:
        assert threading.active_count() == before + 1
        reader.read(10)
    assert threading.active_count() == before


def test_a_failing_read_is_raised_where_the_bytes_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(10 * CHUNK))
    with (tmp_path / "f").open("rb") as file:
        os.close(file.fileno())
        with HashingReader(file, 10 * CHUNK) as reader, pytest.raises(OSError, match="descriptor"):
            reader.read(CHUNK)
        os.open(tmp_path / "f", os.O_RDONLY)  # the number is free: closing the file closes it
