"""Pieces made in turn or ahead: the same pieces, the same end, and no thread left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hive_expert.package.read_ahead import PIECE_BYTES, Producer, ReadAhead, in_turn


def counting(count: int, made: list[int] | None = None) -> Producer:
    """Makes pieces of one byte each: 0, 1, 2, …"""

    def produce(take: Callable[[], bytearray]) -> Iterator[memoryview]:
        for number in range(count):
            buffer = take()
            buffer[0] = number
            if made is not None:
                made.append(number)
            yield memoryview(buffer)[:1]

    return produce


@pytest.mark.parametrize("count", [0, 1, 6, 7, 200])
def test_the_pieces_come_in_order_and_end(count: int) -> None:
    expected = list(range(count))
    assert [piece[0] for piece in in_turn(counting(count))] == expected
    with ReadAhead(counting(count)) as ahead:
        assert [piece[0] for piece in ahead] == expected
        assert next(ahead, None) is None


def test_a_piece_stays_as_it_is_until_the_next_is_asked_for() -> None:
    with ReadAhead(counting(200)) as ahead:
        for number, piece in enumerate(ahead):
            assert piece[0] == number
            time.sleep(0.0005)  # the thread goes on as far as it may
            assert piece[0] == number


def test_a_buffer_has_room_for_a_whole_piece() -> None:
    def produce(take: Callable[[], bytearray]) -> Iterator[memoryview]:
        yield memoryview(take())

    with ReadAhead(produce) as ahead:
        assert [len(piece) for piece in (*in_turn(produce), *ahead)] == [PIECE_BYTES] * 2


def test_what_the_producer_raises_is_raised_where_pieces_are_asked_for() -> None:
    def produce(take: Callable[[], bytearray]) -> Iterator[memoryview]:
        yield memoryview(take())
        raise OSError("no more")

    with ReadAhead(produce) as ahead:
        next(ahead)
        for _ in range(2):
            with pytest.raises(OSError, match="no more"):
                next(ahead)


def test_it_makes_a_few_pieces_ahead_and_waits() -> None:
    made: list[int] = []
    with ReadAhead(counting(200, made)) as ahead:
        deadline = time.monotonic() + 10
        while len(made) < 6 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)  # enough for more, if it would
        assert len(made) == 6
        next(ahead)
        time.sleep(0.02)
        assert len(made) == 6  # the piece is still in use
    assert len(made) == 6


def test_whoever_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    with ReadAhead(counting(200)) as ahead:
        assert threading.active_count() == before + 1
        next(ahead)
    assert threading.active_count() == before
    with pytest.raises(RuntimeError), ReadAhead(counting(200)):
        raise RuntimeError
    assert threading.active_count() == before
