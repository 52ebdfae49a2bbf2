"""What matching a regular expression may cost, counted before it is run on requests.

A package's `limitations[].pattern` is somebody else's program, run on every request. Python's
`re` backtracks, so a pattern's effort is counted, and what could take long is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

# The parser of `re` is private, but what it parses to is the only sure account of a pattern.
from re import _constants as op  # type: ignore[attr-defined]  # private
from re import _parser as parser  # type: ignore[attr-defined]  # private
from typing import Any

MAX_LENGTH = 512
MAX_WAYS = 1024
"""In how many ways a pattern may match at one place: as often `re` may have to try again."""
MAX_STEPS = 4096
"""Operations in one of those ways."""
MAX_EFFORT = 16_384
"""Ways times steps: `re` may take all steps anew in each of them, from each place of a text."""
MANY = 64
"""A repetition that may go further counts as one without bound…"""
UNBOUNDED = 256
"""… and that for so many ways: there can be one, beside a few alternatives."""

_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)
_SINGLE = (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN, op.AT)


def unsafe(pattern: str) -> str | None:
    """Why a valid regular expression is not run on requests; None if it is."""
    if len(pattern) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    effort = _sequence(parser.parse(pattern))
    if effort is None:
        return "has a look-around or a back-reference"
    if effort.ways > MAX_WAYS:
        return "can match in too many ways"
    most = min(MAX_STEPS, MAX_EFFORT / effort.ways)
    return "takes too many steps" if effort.steps > most else None


@dataclass(frozen=True, slots=True)
class _Effort:
    """What a part of a pattern may cost at one place: a bound for each figure."""

    ways: float
    steps: float


_ONE = _Effort(1, 1)


def _sequence(parsed: Iterable[tuple[Any, Any]]) -> _Effort | None:
    """Ways multiply, steps add up; None where something is not counted."""
    ways, steps = 1.0, 0.0
    for code, argument in parsed:
        effort = _operation(code, argument)
        if effort is None:
            return None
        ways, steps = ways * effort.ways, steps + effort.steps
    return _Effort(ways, max(steps, 1))


def _operation(code: Any, argument: Any) -> _Effort | None:
    if code in _SINGLE:
        return _ONE
    if code in _REPEATS:
        least, most, body = argument
        return _repeated(_sequence(body), int(least), int(most))
    if code is op.SUBPATTERN:
        return _sequence(argument[-1])
    if code is op.ATOMIC_GROUP:
        return _sequence(argument)
    if code is op.BRANCH:
        found = [_sequence(branch) for branch in argument[1]]
        alternatives = [effort for effort in found if effort is not None]
        if len(alternatives) < len(found):
            return None
        ways, steps = (sum(e.ways for e in alternatives), sum(e.steps for e in alternatives))
        return _Effort(ways, steps)
    return None


def _repeated(body: _Effort | None, least: int, most: int) -> _Effort | None:
    if body is None:
        return None
    if most > MANY:
        # Where the body itself leaves a choice, choices multiply with every round.
        return _Effort(UNBOUNDED if body.ways == 1 else math.inf, body.steps * max(least, 1))
    if body.ways == 1:
        return _Effort(most - least + 1, body.steps * most)
    ways = sum(min(body.ways, MAX_WAYS + 1) ** rounds for rounds in range(least, most + 1))
    return _Effort(ways, body.steps * most)
