"""Regular expressions from manifests, taken only where matching them cannot take long.

A package's `limitations[].pattern` is somebody else's program, run on every request. Python's
`re` backtracks, so what can make it do so without bound is refused when the index is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# The parser of `re` is private, but what it parses to is the only sure account of a pattern.
from re import _constants as op  # type: ignore[attr-defined]  # private
from re import _parser as parser  # type: ignore[attr-defined]  # private
from typing import Any

from hive_expert.manifest.model import Manifest

MAX_LENGTH = 512
MAX_REPEAT = 64
"""Repetitions up to this many are bounded work; any more count as without bound."""

_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)


def limitation_patterns(manifest: Manifest) -> tuple[list[re.Pattern[str]], list[str]]:
    """An expert's limitations that are flagged as regular expressions, and what is wrong with
    those that are not used."""
    patterns, warnings = [], []
    for position, limitation in enumerate(manifest.limitations):
        if not limitation.regex:
            continue
        if problem := unsafe(limitation.pattern):
            warnings.append(f"{manifest.name}: limitations[{position}].pattern {problem}; not used")
        else:
            patterns.append(re.compile(limitation.pattern, re.IGNORECASE))
    return patterns, warnings


def unsafe(pattern: str) -> str | None:
    """Why a valid regular expression is not run on requests; None if it is."""
    if len(pattern) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    unbounded = 0
    for depth, code, bounds in _operations(parser.parse(pattern), 0):
        if code in (op.ASSERT, op.ASSERT_NOT, op.GROUPREF, op.GROUPREF_EXISTS):
            return "has a look-around or a back-reference"
        if code in _REPEATS and bounds > 1:
            if depth:
                return "repeats a repetition"
            unbounded += bounds > MAX_REPEAT
    return "has more than one repetition without bound" if unbounded > 1 else None


def _operations(parsed: Any, depth: int) -> Iterator[tuple[int, Any, int]]:
    """Each operation with how many repetitions it stands in, and how often it may repeat."""
    for code, argument in parsed:
        if code in _REPEATS:
            _, most, body = argument
            bounds = int(most)
            yield depth, code, bounds
            yield from _operations(body, depth + (bounds > 1))
        elif code is op.SUBPATTERN:
            yield from _operations(argument[-1], depth)
        elif code is op.BRANCH:
            for branch in argument[1]:
                yield from _operations(branch, depth)
        elif code is op.ATOMIC_GROUP:
            yield from _operations(argument, depth)
        else:
            yield depth, code, 1
