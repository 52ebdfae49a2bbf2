"""The SHA-256 of a file, computed as it is read."""

from __future__ import annotations

import hashlib
from io import BufferedReader


class HashingReader:
    """A file that is hashed as it is read.

    Law: once :meth:`read` has given the end of the file, :meth:`hexdigest` is that of the bytes
    it gave, whatever became of the file meanwhile.
    """

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; none at the end of the file."""
        chunk = self._file.read(size)
        self._hash.update(chunk)
        return chunk

    def hexdigest(self) -> str:
        """SHA-256 of what was read, to be asked at the end of the file."""
        return self._hash.hexdigest()
