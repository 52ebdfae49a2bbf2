"""The characters of GBNF literals and character classes.

Only escapes that llama.cpp and xgrammar read alike are accepted, and only what is a character:
no surrogates, nothing above U+10FFFF.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

MAX_LITERAL_CHARACTERS = 1024
MAX_CLASS_ENTRIES = 1024

Report: TypeAlias = Callable[[int, str, str], None]
"""Takes one problem: offset in the text, what is wrong, what to do."""

Span: TypeAlias = tuple[int, int]

_CHARACTER = re.compile(
    r"\\x([0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})|\\(.)|(.)", re.DOTALL
)
_HEX_DIGIT = re.compile(r"[0-9A-Fa-f]")
_LITERAL_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"'}
_CLASS_ESCAPES = {**_LITERAL_ESCAPES, "[": "[", "]": "]", "-": "-"}
_HEX_ESCAPES = r"\xHH \uHHHH \UHHHHHHHH"
LETTERS = 26
_ALPHABETS = ((ord("a"), ord("z")), (ord("A"), ord("Z")))
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)


@dataclass(frozen=True, slots=True)
class _Character:
    """One character; ``plain`` if it was written as itself."""

    at: int
    code: int
    plain: bool


def literal_length(text: str, span: Span, report: Report) -> int:
    """Check what stands between the quotes of a literal; return its number of characters."""
    length = sum(1 for _ in _characters(text, span, _LITERAL_ESCAPES, report))
    if length > MAX_LITERAL_CHARACTERS:
        report(span[0], f"a text of {length} characters", f"at most {MAX_LITERAL_CHARACTERS} each")
    return length


def check_class(text: str, span: Span, report: Report, *, negated: bool) -> bool:
    """Check what stands between the brackets of a character class, ``^`` aside.

    Returns whether it takes most small or most capital letters, and so most words.
    """
    start = span[0]
    ranges = _ranges(list(_characters(text, span, _CLASS_ESCAPES, report)), report)
    if not ranges:
        report(start, "the character class is empty", r"[\u0000-\U0010FFFF] is any character")
    if len(ranges) > MAX_CLASS_ENTRIES:
        report(start, f"{len(ranges)} entries in a class", f"at most {MAX_CLASS_ENTRIES}")
    if negated and _cover_everything(ranges):
        report(start, "the character class excludes every character", "")
    return any(
        (_count_within(ranges, alphabet) > LETTERS // 2) is not negated for alphabet in _ALPHABETS
    )


def shown(text: str, limit: int = 40) -> str:
    """A piece of hostile text, fit for a message: ASCII, one line, short."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")


def _ranges(characters: list[_Character], report: Report) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    position = 0
    while position < len(characters):
        low = high = characters[position]
        following = characters[position + 1 : position + 3]
        if len(following) == 2 and following[0].plain and following[0].code == ord("-"):
            high = following[1]
            position += 2
        position += 1
        if low.code > high.code:
            report(low.at, "the range runs backwards", "put its lower end first")
        ranges.append((low.code, high.code))
    return ranges


def _characters(
    text: str, span: Span, escapes: dict[str, str], report: Report
) -> Iterator[_Character]:
    for found in _CHARACTER.finditer(text, *span):
        at = found.start()
        if hexadecimal := found[1] or found[2] or found[3]:
            if found[1] and _HEX_DIGIT.match(text, found.end(), span[1]):
                report(
                    at,
                    r"a hex digit right after \xHH: compilers disagree on where it ends",
                    rf"write \u00{hexadecimal}",
                )
            yield _Character(at, _code_point(at, int(hexadecimal, 16), report), plain=False)
        elif (letter := found[4]) is not None:
            if letter not in escapes:
                known = " ".join(f"\\{c}" for c in escapes)
                what = rf"\{shown(letter)[1:-1]} is no escape here"
                report(at, what, f"there are {known} {_HEX_ESCAPES}")
            yield _Character(at, ord(escapes.get(letter, letter)), plain=False)
        else:
            yield _Character(at, ord(found[5]), plain=True)


def _code_point(at: int, code: int, report: Report) -> int:
    if code > _LAST_CODE_POINT or _SURROGATES[0] <= code <= _SURROGATES[1]:
        report(at, f"U+{code:04X} is not a character", "")
    return min(code, _LAST_CODE_POINT)


def _count_within(ranges: list[tuple[int, int]], span: tuple[int, int]) -> int:
    """How many characters of a short span the ranges hold."""
    first, last = span
    held: set[int] = set()
    for low, high in ranges:
        held.update(range(max(low, first), min(high, last) + 1))
    return len(held)


def _cover_everything(ranges: list[tuple[int, int]]) -> bool:
    """Whether the ranges leave no character out (surrogates are none)."""
    free = 0
    for low, high in sorted([*ranges, _SURROGATES]):
        if low > free:
            return False
        free = max(free, high + 1)
    return free > _LAST_CODE_POINT
