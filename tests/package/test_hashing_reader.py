"""Hashing while reading: the hash is that of the bytes given."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from hive_expert.package.hashing_reader import HashingReader


@pytest.mark.parametrize("length", [0, 1, 1000, 1001, 5000])
def test_it_gives_the_file_and_its_hash(tmp_path: Path, length: int) -> None:
    content = os.urandom(length)
    (tmp_path / "f").write_bytes(content)
    with (tmp_path / "f").open("rb") as file:
        reader = HashingReader(file)
        parts = []
        while part := reader.read(1000):
            assert len(part) <= 1000
            parts.append(part)
    assert b"".join(parts) == content
    assert reader.hexdigest() == hashlib.sha256(content).hexdigest()


def test_a_file_that_changes_behind_it_makes_no_difference(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a" * 100_000)
    with (tmp_path / "f").open("rb") as file:
        reader = HashingReader(file)
        first = reader.read(50_000)
        (tmp_path / "f").write_bytes(b"b" * 100_000)
        given = first + reader.read(50_000) + reader.read(1)
    assert reader.hexdigest() == hashlib.sha256(given).hexdigest()
