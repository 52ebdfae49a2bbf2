"""Finds texts that are nearly the same, without comparing each with each.

MinHash: the share of equal minima of two texts' shingles estimates the Jaccard similarity of
the shingle sets; texts that agree in a whole band of minima are candidates, and the candidates'
similarity is computed exactly. (Broder 1997; banding as in Leskovec et al., *Mining of Massive
Datasets*, chapter 3.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from zlib import crc32

SHINGLE = 5
"""Characters of a shingle."""
BANDS, ROWS = 16, 4
"""Of 64 minima; at a similarity of 0.8 a pair is missed once in 5,000, at 0.9 never."""
_PRIME = (1 << 61) - 1
_MASK = (1 << 32) - 1
_FACTORS = [
    ((crc32(b"a%d" % i) << 29 | crc32(b"b%d" % i)) % _PRIME, crc32(b"c%d" % i))
    for i in range(BANDS * ROWS)
]


def near_duplicates(texts: Sequence[str], threshold: float) -> dict[int, int]:
    """For each text that is nearly the same as an earlier kept one, the place of that one.

    ``threshold`` is the least Jaccard similarity of their shingles that counts, above 0 up to 1.
    A text that is dropped drops no others: what is kept stays within reach of what is not.
    """
    seen: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    shingled = [shingles(text) for text in texts]
    twins: dict[int, int] = {}
    for at, own in enumerate(shingled):
        minima = _minima(own)
        bands = [(b, tuple(minima[b * ROWS : (b + 1) * ROWS])) for b in range(BANDS)]
        candidates = {other for band in bands for other in seen.get(band, ())}
        twin = next(
            (c for c in sorted(candidates) if similarity(own, shingled[c]) >= threshold), None
        )
        if twin is not None:
            twins[at] = twin
            continue
        for band in bands:
            seen.setdefault(band, []).append(at)
    return twins


def shingles(text: str) -> frozenset[str]:
    """All runs of characters of the text, in small letters, its white space made single."""
    text = re.sub(r"\s+", " ", text.strip().lower())
    return frozenset(text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1)))


def similarity(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard: the common part of the whole."""
    return len(a & b) / len(a | b)


def _minima(words: frozenset[str]) -> list[int]:
    hashes = [crc32(word.encode()) for word in words]
    return [min((a * h + b) % _PRIME & _MASK for h in hashes) for a, b in _FACTORS]
