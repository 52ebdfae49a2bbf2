"""Regular expressions in manifests: which are compiled at all.

A manifest is read before anybody knows whose it is, and `re` takes a loop over every character of
a range to compile it: half a kilobyte of pattern can take it a second. SPEC section 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# The parser of `re` is private, but what it parses to is the only sure account of a pattern.
from re import _constants as op  # type: ignore[attr-defined]  # private
from re import _parser as parser  # type: ignore[attr-defined]  # private
from typing import Any

MAX_CHARACTERS_IN_RANGES = 1024
"""Characters in all ranges (`a-z` are 26) of one pattern."""


def flaw(pattern: str) -> str | None:
    """What keeps a text from being a regular expression for use; None if it is one."""
    try:
        if sum(_ranges(parser.parse(pattern))) > MAX_CHARACTERS_IN_RANGES:
            return f"its ranges have more than {MAX_CHARACTERS_IN_RANGES} characters"
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as exc:
        return f"is no regular expression: {exc}"
    return None


def _ranges(parsed: Any) -> Iterator[int]:
    """The number of characters in each range of a parsed pattern."""
    for item in parsed:
        if isinstance(item, tuple) and item and item[0] is op.RANGE:
            first, last = item[1]
            yield last - first + 1
        elif isinstance(item, tuple | list | parser.SubPattern):
            yield from _ranges(item)
