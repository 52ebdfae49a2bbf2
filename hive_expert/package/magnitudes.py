"""How large the values of tensors are, told from their bytes as they pass by.

Imports numpy, which takes a tenth of a second: to be imported where weights are read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class _Run:
    """Tensors that follow each other and have elements of one width."""

    first: int
    """Position of its first tensor among all."""
    starts: list[int]
    """The element each tensor begins with, counted within the run."""
    elements: int
    kind: np.dtype[Any]
    magnitude: Any
    """All bits of an element but the sign."""


class Magnitudes:
    """The largest magnitude in each of the tensors of a file, as the bits of the number.

    IEEE 754 orders magnitudes as it orders their bits: 0 is zero, infinity has the exponent's
    bits set and no others, and NaN is more than that. Whatever the format, one maximum tells
    whether a tensor is nothing but zeros and whether it is finite.

    Law: how the bytes are cut into chunks makes no difference. Memory: a chunk and a few numbers
    for each tensor.
    """

    def __init__(self, tensors: Iterable[tuple[int, int]]) -> None:
        """``tensors`` gives the bytes of an element (2 or 4) and the number of elements of each."""
        listed = list(tensors)
        self._largest = np.zeros(len(listed), np.uint32)
        self._runs = iter(_runs(listed))
        self._run = next(self._runs, None)
        self._done = 0  # elements of the run that were seen
        self._carry = b""  # the beginning of an element that a chunk ended in

    def feed(self, chunk: bytes | memoryview) -> None:
        """Look at the next bytes."""
        rest = memoryview(self._carry + chunk if self._carry else chunk)
        while self._run is not None:
            run = self._run
            width = run.kind.itemsize
            count = min(len(rest) // width, run.elements - self._done)
            if count:
                self._look_at(run, np.frombuffer(rest, run.kind, count))
                rest = rest[count * width :]
                self._done += count
            if self._done < run.elements:
                break
            self._run, self._done = next(self._runs, None), 0
        self._carry = bytes(rest)

    @property
    def complete(self) -> bool:
        """Whether every element of every tensor was seen."""
        return self._run is None

    def largest(self) -> list[int]:
        """The bits of each tensor's largest magnitude so far."""
        return [int(bits) for bits in self._largest]

    def _look_at(self, run: _Run, bits: npt.NDArray[Any]) -> None:
        """Raise the maxima of the tensors that the elements from ``_done`` on belong to."""
        begin = bisect_right(run.starts, self._done) - 1
        end = bisect_left(run.starts, self._done + len(bits))
        offsets = [max(start - self._done, 0) for start in run.starts[begin:end]]
        found = np.maximum.reduceat(bits & run.magnitude, offsets)
        known = self._largest[run.first + begin : run.first + end]
        np.maximum(known, found, out=known)


def _runs(tensors: list[tuple[int, int]]) -> Iterator[_Run]:
    first = 0
    for width, group in groupby(tensors, key=lambda tensor: tensor[0]):
        starts = [0, *accumulate(elements for _, elements in group)]
        kind = np.dtype(f"<u{width}")
        magnitude = kind.type((1 << 8 * width - 1) - 1)
        yield _Run(first, starts[:-1], starts[-1], kind, magnitude)
        first += len(starts) - 1
