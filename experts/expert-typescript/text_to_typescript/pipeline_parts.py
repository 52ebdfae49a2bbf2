"""Conditions on numbers and strings, and changes of them: in words, in TypeScript, in Python.

In words and code `K` stands for a number and `"S"` for a string that a task chooses; in code `V`
stands for the element.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Condition:
    """Which elements are meant: *{before} numbers {after}*, *all numbers {are}*."""

    id: str
    before: str
    after: str
    are: str
    code: str
    holds: Callable[[Any, Any], bool]


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of an element: *each {done}*, *the {noun} of*. `K` is a constant."""

    id: str
    done: str
    nouns: str
    code: str
    result: str
    apply: Callable[[Any, Any], Any]


def _t(name: str, before: str, after: str, are: str, code: str, holds: Any) -> Condition:
    return Condition(name, before, after, are, code, holds)


NUMBER_TESTS = (
    _t("even", "even", "", "are even", "V % 2 === 0", lambda v, k: v % 2 == 0),
    _t("odd", "odd", "", "are odd", "V % 2 !== 0", lambda v, k: v % 2 != 0),
    _t("positive", "positive", "", "are positive", "V > 0", lambda v, k: v > 0),
    _t("negative", "negative", "", "are negative", "V < 0", lambda v, k: v < 0),
    _t("above", "", "greater than K", "are greater than K", "V > K", lambda v, k: v > k),
    _t("below", "", "less than K", "are less than K", "V < K", lambda v, k: v < k),
    _t("least", "", "of at least K", "are at least K", "V >= K", lambda v, k: v >= k),
    _t("most", "", "of at most K", "are at most K", "V <= K", lambda v, k: v <= k),
    _t("divisible", "", "divisible by K", "are divisible by K", "V % K === 0",
       lambda v, k: v % k == 0),
    _t("not", "", "other than K", "differ from K", "V !== K", lambda v, k: v != k),
)  # fmt: skip
STRING_TESTS = (
    _t("longer", "", "longer than K characters", "are longer than K characters",
       "V.length > K", lambda v, k: len(v) > k),
    _t("shorter", "", "shorter than K characters", "are shorter than K characters",
       "V.length < K", lambda v, k: len(v) < k),
    _t("exact", "", "of exactly K characters", "have exactly K characters",
       "V.length === K", lambda v, k: len(v) == k),
    _t("starts", "", 'starting with "S"', 'start with "S"', 'V.startsWith("S")',
       lambda v, s: v.startswith(s)),
    _t("ends", "", 'ending with "S"', 'end with "S"', 'V.endsWith("S")',
       lambda v, s: v.endswith(s)),
    _t("contains", "", 'containing "S"', 'contain "S"', 'V.includes("S")', lambda v, s: s in v),
    _t("nonempty", "non-empty", "", "are not empty", 'V !== ""', lambda v, k: v != ""),
    _t("lower", "lower-case", "", "are in lower case", "V === V.toLowerCase()",
       lambda v, k: v == v.lower()),
)  # fmt: skip
NUMBER_CHANGES = (
    Change("double", "doubled", "doubles", "V * 2", "number", lambda v, k: v * 2),
    Change("square", "squared", "squares", "V * V", "number", lambda v, k: v * v),
    Change("plus", "increased by K", "", "V + K", "number", lambda v, k: v + k),
    Change("minus", "reduced by K", "", "V - K", "number", lambda v, k: v - k),
    Change("times", "multiplied by K", "", "V * K", "number", lambda v, k: v * k),
    Change("absolute", "made positive", "absolute values", "Math.abs(V)", "number",
           lambda v, k: abs(v)),
    Change("text", "converted to a string", "", "String(V)", "string", lambda v, k: str(v)),
)  # fmt: skip
STRING_CHANGES = (
    Change("upper", "in upper case", "", "V.toUpperCase()", "string", lambda v, k: v.upper()),
    Change("lower", "in lower case", "", "V.toLowerCase()", "string", lambda v, k: v.lower()),
    Change("length", "replaced by its length", "lengths", "V.length", "number",
           lambda v, k: len(v)),
    Change("first", "cut to its first letter", "first letters", "V.charAt(0)", "string",
           lambda v, k: v[:1]),
    Change("twice", "repeated twice", "", "V.repeat(2)", "string", lambda v, k: v * 2),
    Change("suffix", 'followed by "S"', "", 'V + "S"', "string", lambda v, s: v + s),
    Change("prefix", 'preceded by "S"', "", '"S" + V', "string", lambda v, s: s + v),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Elements:
    """A kind of array: its type, how its elements are called, and what can be asked of them."""

    type: str
    nouns: tuple[str, ...]
    lists: tuple[str, ...]
    short: str
    tests: tuple[Condition, ...]
    changes: tuple[Change, ...]


NUMBERS = Elements("number", ("number", "value"), ("numbers", "values", "nums", "list", "data"),
                   "nvxi", NUMBER_TESTS, NUMBER_CHANGES)  # fmt: skip
STRINGS = Elements("string", ("string", "word", "name"),
                   ("words", "names", "strings", "items", "lines"), "swti",
                   STRING_TESTS, STRING_CHANGES)  # fmt: skip
