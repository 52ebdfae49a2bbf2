"""The largest magnitude of each tensor, however its bytes come."""

from __future__ import annotations

import math
import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_expert.package.magnitudes import Magnitudes

TENSORS = st.lists(
    st.sampled_from([2, 4]).flatmap(
        lambda width: st.tuples(
            st.just(width),
            st.binary(min_size=width, max_size=5 * width).map(
                lambda raw: raw[: len(raw) // width * width]
            ),
        )
    ),
    min_size=1,
    max_size=6,
)


def measured(tensors: list[tuple[int, bytes]], cuts: list[int]) -> list[int]:
    data = b"".join(raw for _, raw in tensors)
    magnitudes = Magnitudes((width, len(raw) // width) for width, raw in tensors)
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in pairwise(places):
        magnitudes.feed(data[begin:end])
    assert magnitudes.complete
    return magnitudes.largest()


def one_by_one(width: int, raw: bytes) -> int:
    values = struct.unpack(f"<{len(raw) // width}{'H' if width == 2 else 'I'}", raw)
    return max(value % (1 << 8 * width - 1) for value in values)


@given(TENSORS, st.lists(st.integers(0, 200), max_size=8))
def test_it_is_the_maximum_without_the_sign_for_any_cuts(
    tensors: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    assert measured(tensors, cuts) == [one_by_one(width, raw) for width, raw in tensors]


@pytest.mark.parametrize(
    ("value", "bits"), [(0.0, 0), (-0.0, 0), (-1.0, 0x3F800000), (-math.inf, 0x7F800000)]
)
def test_numbers_are_ordered_as_their_bits(value: float, bits: int) -> None:
    assert measured([(4, struct.pack("<f", value))], []) == [bits]


def test_nan_is_more_than_infinity() -> None:
    assert measured([(4, struct.pack("<ff", math.nan, math.inf))], [])[0] > 0x7F800000


def test_without_tensors_it_is_complete_from_the_start() -> None:
    assert Magnitudes([]).complete
    assert Magnitudes([]).largest() == []


def test_it_is_complete_with_the_last_byte() -> None:
    magnitudes = Magnitudes([(2, 3), (4, 1)])
    for byte in np.arange(10, dtype=np.uint8):
        assert not magnitudes.complete
        magnitudes.feed(bytes([byte]))
    assert magnitudes.complete
    assert magnitudes.largest() == [0x0504, 0x09080706]
