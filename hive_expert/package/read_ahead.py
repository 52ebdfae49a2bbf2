"""Pieces of a stream, made in one buffer in turn or in a few by a thread that works ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from queue import SimpleQueue
from threading import Thread
from typing import TypeAlias

PIECE_BYTES = 256 << 10

Producer: TypeAlias = Callable[[Callable[[], bytearray]], Iterator[memoryview]]
"""Makes the pieces of a stream, each in a buffer that it is given when it asks for one."""

_BUFFERS = 6


def in_turn(produce: Producer) -> Iterator[memoryview]:
    """The pieces as they are asked for. Each is good until the next is asked for."""
    buffer = bytearray(PIECE_BYTES)
    return produce(lambda: buffer)


class ReadAhead(AbstractContextManager["ReadAhead"], Iterator[memoryview]):
    """The same, with a thread that makes the next pieces while the last one is being used.

    hashlib and ISA-L let go of the interpreter's lock, so a second core does their work; and new
    memory for every piece would cost half as much as hashing it, in page faults.

    Laws: a buffer is with the producer or with the consumer, never with both. What the producer
    raises is raised where its next piece is asked for. On leaving the context the thread has
    ended.
    """

    def __init__(self, produce: Producer) -> None:
        self._produce = produce
        self._made: SimpleQueue[memoryview | _End] = SimpleQueue()
        self._free: SimpleQueue[bytearray] = SimpleQueue()
        for _ in range(_BUFFERS):
            self._free.put(bytearray(PIECE_BYTES))
        self._in_use: memoryview | None = None
        self._wanted = True
        self._thread = Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def __next__(self) -> memoryview:
        if self._in_use is not None:
            self._free.put(self._in_use.obj)  # type: ignore[arg-type]  # a buffer that _take gave
            self._in_use = None
        made = self._made.get()
        if isinstance(made, _End):
            self._made.put(made)  # for whoever asks again
            raise made.reason
        self._in_use = made
        return made

    def __exit__(self, *_: object) -> None:
        self._wanted = False
        self._free.put(bytearray())
        self._thread.join()

    def _run(self) -> None:
        try:
            for piece in self._produce(self._take):
                self._made.put(piece)
            self._made.put(_End(StopIteration()))
        except BaseException as reason:  # noqa: BLE001  # raised where the pieces are taken
            self._made.put(_End(reason))

    def _take(self) -> bytearray:
        buffer = self._free.get()
        if not self._wanted:
            raise _Unwanted
        return buffer


class _End:
    """No more pieces, and why: StopIteration, or something worse."""

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason


class _Unwanted(Exception):  # noqa: N818  # it ends the thread; nobody sees it
    """Nobody takes what would follow."""
