"""The SHA-256 of a file, computed beside whatever is done with its content."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from io import BufferedReader

_CHUNK_BYTES = 256 << 10
_CHUNKS_AHEAD = 4


class HashingReader(AbstractContextManager["HashingReader"]):
    """A file that a thread of its own reads a mebibyte ahead, and hashes.

    hashlib lets go of the interpreter's lock, so a second core does the hashing. Law: once
    :meth:`read` has given the end of the file, :meth:`hexdigest` is that of the bytes it gave,
    whatever became of the file meanwhile. Files of one chunk start no thread.
    """

    def __init__(self, file: BufferedReader, size: int) -> None:
        """``size`` is what the file is expected to have."""
        self._file = file
        self._hash = hashlib.sha256()
        self._chunk = b""
        self._thread = ThreadPoolExecutor(1, "hashing")
        self._ahead: deque[Future[bytes]] = deque()
        if size > _CHUNK_BYTES:
            self._ahead.extend(self._thread.submit(self._next) for _ in range(_CHUNKS_AHEAD))

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; none at the end of the file."""
        if not self._chunk:
            self._chunk = self._from_ahead() if self._ahead else self._next()
        taken, self._chunk = self._chunk[:size], self._chunk[size:]
        return taken

    def hexdigest(self) -> str:
        """SHA-256 of what was read, to be asked at the end of the file."""
        return self._hash.hexdigest()

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _from_ahead(self) -> bytes:
        chunk = self._ahead.popleft().result()
        self._ahead.append(self._thread.submit(self._next))
        return chunk

    def _next(self) -> bytes:
        chunk = self._file.read(_CHUNK_BYTES)
        self._hash.update(chunk)
        return chunk
