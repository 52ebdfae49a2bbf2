"""SHA-256 of what passes by, computed in a thread that follows behind."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from queue import SimpleQueue
from threading import Thread
from typing import Protocol, Self, TypeAlias

from hive_expert.package.gzip_stream import PIECE_BYTES

_BUFFERS = 8


class Hash(Protocol):
    """A hash that is being computed, as those of hashlib."""

    def update(self, data: memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


_Job: TypeAlias = tuple[Hash, memoryview] | bytearray | None
"""A chunk to be hashed; a buffer that nobody reads any more; the end."""


class HashingThread(AbstractContextManager["HashingThread"]):
    """Hashes chunks in a thread, and lends the buffers they lie in.

    hashlib lets go of the interpreter's lock, so a second core does its work. New memory for
    every piece would cost half as much as hashing it, in page faults.

    Laws: a buffer is lent again once all chunks in it are hashed, never before. On leaving the
    context every hash is complete and the thread has ended.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._free: SimpleQueue[bytearray] = SimpleQueue()
        for _ in range(_BUFFERS):
            self._free.put(bytearray(PIECE_BYTES))
        self._lent: bytearray | None = None
        self._thread = Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def buffer(self) -> bytearray:
        """Room for the next piece. What was in the one lent before is no longer to be used."""
        if self._lent is not None:
            self._jobs.put(self._lent)
        self._lent = self._free.get()
        return self._lent

    def new(self) -> Hash:
        """A hash of nothing yet. Its value is known when the context is left."""
        return hashlib.sha256()

    def add(self, hashed: Hash, chunk: memoryview) -> None:
        """Hash more, which lies in the buffer that was lent last."""
        self._jobs.put((hashed, chunk))

    def __exit__(self, *_: object) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if isinstance(job, bytearray):
                self._free.put(job)
            else:
                hashed, chunk = job
                hashed.update(chunk)
