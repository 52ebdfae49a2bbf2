"""A request is given to another replica exactly while its client has got nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import pytest

from hive_expert.errors import EngineError
from hive_expert.replicas.relay import Head, Spent
from hive_expert.replicas.retry import ATTEMPTS, Piece, answer

WHOLE = Head(200, ((b"content-type", b"application/json"),))
STREAM = Head(200, ((b"content-type", b"text/event-stream"),))


class FellAwayError(Exception):
    pass


class Replicas:
    """Each attempt gives the next of these sequences; an exception in it is raised."""

    def __init__(self, *attempts: Sequence[Piece | Exception]) -> None:
        self.attempts = list(attempts)
        self.asked = 0
        self.closed = 0

    async def __call__(self) -> AsyncGenerator[Piece, None]:
        self.asked += 1
        try:
            for piece in self.attempts.pop(0):
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed += 1


async def got(replicas: Replicas) -> list[Piece]:
    return [piece async for piece in answer(replicas, (FellAwayError,))]


async def test_a_sound_replica_answers_alone() -> None:
    replicas = Replicas([WHOLE, b"a", b"b"])
    assert await got(replicas) == [WHOLE, b"ab"]
    assert replicas.asked == replicas.closed == 1


async def test_a_stream_comes_piece_by_piece() -> None:
    assert await got(Replicas([STREAM, b"a", b"b"])) == [STREAM, b"a", b"b"]


@pytest.mark.parametrize("lost", [[FellAwayError()], [WHOLE, b"a", FellAwayError()]])
async def test_what_its_client_has_not_seen_is_asked_again(lost: list[Piece | Exception]) -> None:
    replicas = Replicas(lost, [WHOLE, b"b"])
    assert await got(replicas) == [WHOLE, b"b"]
    assert replicas.asked == 2


async def test_a_stream_that_has_not_begun_is_asked_again() -> None:
    assert await got(Replicas([FellAwayError()], [STREAM, b"b"])) == [STREAM, b"b"]


async def test_a_stream_that_has_begun_is_not() -> None:
    replicas = Replicas([STREAM, b"a", FellAwayError()], [STREAM, b"b"])
    pieces = answer(replicas, (FellAwayError,))
    assert [await anext(pieces), await anext(pieces)] == [STREAM, b"a"]
    with pytest.raises(EngineError, match="while it answered"):
        await anext(pieces)
    assert replicas.asked == 1


async def test_there_is_an_end_to_it() -> None:
    replicas = Replicas(*[[FellAwayError()]] * 9)
    with pytest.raises(EngineError, match="fell away"):
        await got(replicas)
    assert replicas.asked == ATTEMPTS


async def test_other_faults_are_not_asked_again() -> None:
    replicas = Replicas([ValueError("ours")], [WHOLE])
    with pytest.raises(ValueError, match="ours"):
        await got(replicas)
    assert replicas.asked == 1


async def test_a_client_that_leaves_ends_the_attempt() -> None:
    replicas = Replicas([STREAM, b"a", b"b"])
    pieces = answer(replicas, (FellAwayError,))
    assert await anext(pieces) == STREAM
    await pieces.aclose()
    assert replicas.closed == 1


async def test_what_an_answer_has_cost_comes_before_it_unless_it_is_read_meanwhile() -> None:
    spent = Spent("one", "alice", 5)
    assert await got(Replicas([WHOLE, b"a", b"b", spent])) == [spent, WHOLE, b"ab"]
    assert await got(Replicas([STREAM, b"a", spent])) == [STREAM, b"a", spent]
