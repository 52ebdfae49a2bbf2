"""Hashes by a thread: those of hashlib, of buffers that wait until they are hashed."""

from __future__ import annotations

import hashlib
import threading
import time

import pytest

from hive_expert.package.gzip_stream import PIECE_BYTES
from hive_expert.package.hashing import HashingThread


class Slow:
    """A hash that takes its time and keeps what it was given."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.seen = seconds, b""

    def update(self, data: memoryview) -> None:
        time.sleep(self.seconds)
        self.seen += data

    def hexdigest(self) -> str:
        return self.seen.hex()


def fill(hashing: HashingThread, number: int) -> memoryview:
    buffer = hashing.buffer()
    buffer[0] = number
    return memoryview(buffer)[:1]


@pytest.mark.parametrize("count", [0, 1, 8, 9, 200])
def test_hashes_are_those_of_hashlib(count: int) -> None:
    with HashingThread() as hashing:
        even, odd = hashing.new(), hashing.new()
        for number in range(count):
            hashing.add(odd if number % 2 else even, fill(hashing, number))
    assert even.hexdigest() == hashlib.sha256(bytes(range(0, count, 2))).hexdigest()
    assert odd.hexdigest() == hashlib.sha256(bytes(range(1, count, 2))).hexdigest()


def test_a_buffer_stays_as_it_is_until_it_is_hashed() -> None:
    slow = Slow(0.0005)
    with HashingThread() as hashing:
        for number in range(100):
            hashing.add(slow, fill(hashing, number))
    assert slow.seen == bytes(range(100))


def test_a_few_buffers_are_lent_and_then_one_waits() -> None:
    with HashingThread() as hashing:
        slow = Slow(0.05)
        buffers = {id(hashing.buffer()) for _ in range(8)}
        assert len(buffers) == 8
        hashing.add(slow, memoryview(hashing.buffer())[:1])
        assert len(buffers | {id(hashing.buffer()) for _ in range(20)}) == 8


def test_a_buffer_has_room_for_a_whole_piece() -> None:
    with HashingThread() as hashing:
        assert len(hashing.buffer()) == PIECE_BYTES


def test_whoever_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    with HashingThread() as hashing:
        assert threading.active_count() == before + 1
        fill(hashing, 1)
    assert threading.active_count() == before
    with pytest.raises(RuntimeError), HashingThread():
        raise RuntimeError
    assert threading.active_count() == before
