"""Gives back to the system what adapters that come and go leave behind in the C library's heap.

torch asks for aligned memory, and glibc leaves gaps between such blocks that it seldom fills again:
of each adapter of 20 MB that is read and dropped about one stays. A worker that loads one a second
would grow by a gigabyte in a quarter of an hour, with nothing in it. SPEC section 11.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

TRIM_EVERY = 16
"""Adapters read between two trims. One takes longer the more there is to give back: after so many
about as long as a tenth of a decode step."""


class Heap:
    """Trims the heap now and then.

    Law: of `n` adapters that were read, every TRIM_EVERY-th trims it.
    """

    def __init__(self, trim: Callable[[], object] | None = None) -> None:
        self._trim = trim or trim_of_c_library()
        self._read = 0

    def adapter_read(self) -> None:
        self._read += 1
        if self._read % TRIM_EVERY == 0:
            self._trim()


def trim_of_c_library() -> Callable[[], object]:
    """glibc's `malloc_trim`; nothing where the C library is another, which needs none."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    return (lambda: None) if trim is None else (lambda: trim(ctypes.c_size_t(0)))
