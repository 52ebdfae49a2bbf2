"""What becomes of a request whose replica falls away. SPEC section 14."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from hive_expert.errors import EngineError, Problem
from hive_expert.replicas.relay import Head, Spent

log = logging.getLogger("hive_expert.replicas")

ATTEMPTS = 3

Piece = Head | bytes | Spent
"""Of an answer: its head first, then its body in pieces, and at last what it has cost."""

Attempt = Callable[[], AsyncGenerator[Piece, None]]


async def answer(
    attempt: Attempt, lost: tuple[type[BaseException], ...], attempts: int = ATTEMPTS
) -> AsyncGenerator[Piece, None]:
    """An answer, by whichever replica gives it.

    Laws: all pieces are of one attempt; another is made only where the one before gave none; an
    answer that its client does not read while it comes is given only when it is there in whole, so
    that a replica may fall away until its last byte, and what it has cost comes before it: nobody
    who has it can ask again before that is counted.

    Args:
        lost: what an attempt raises whose replica has fallen away.

    Raises:
        EngineError: replicas fell away in all attempts, or one whose answer had begun.
    """
    for number in range(1, attempts + 1):
        begun = False
        try:
            async with aclosing(_whole_or_streamed(attempt)) as pieces:
                async for piece in pieces:
                    begun = begun or not isinstance(piece, Spent)
                    yield piece
            return
        except lost as error:
            if begun:
                what = "the replica fell away while it answered"
                raise EngineError(Problem("replica", what, "ask again")) from error
            log.warning("a replica fell away, attempt %d of %d: %s", number, attempts, error)
    what = f"{attempts} replicas fell away, one after another, before they could answer"
    raise EngineError(Problem("replica", what, "see the log"))


async def _whole_or_streamed(attempt: Attempt) -> AsyncGenerator[Piece, None]:
    async with aclosing(attempt()) as pieces:
        head: Head | None = None
        body = bytearray()
        async for piece in pieces:
            if isinstance(piece, Head):
                head = piece
                if head.streams:
                    yield head
            elif isinstance(piece, Spent) or (head is not None and head.streams):
                yield piece
            else:
                body += piece
        if head is not None and not head.streams:
            yield head
            yield bytes(body)
