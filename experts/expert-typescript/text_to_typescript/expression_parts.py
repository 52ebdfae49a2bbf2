"""Steps and conditions on one value: in words, in TypeScript, in Python.

In words `O` stands for the value, `K` for a number and `"S"` for a string that a task chooses; in
code `E` stands for the value. What the tests alone ask about (`functions-test.txt`) is not here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """What is done to a value: *{do}* as an order, *{done}* as its result."""

    do: str
    done: str
    code: str
    apply: Callable[[Any, Any], Any]
    binds: bool = True
    """Nothing that follows the code can tear it apart, so it needs no brackets."""


@dataclass(frozen=True, slots=True)
class Test:
    """What a value can be: *O {holds}*, *O {fails}*."""

    holds: str
    fails: str
    code: str
    check: Callable[[Any, Any], bool]
    bound: str = ""
    """`above`, `below` or `exact`: two of them at once would be a range, which is the tests'."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of values with what can be done to them."""

    type: str
    names: tuple[str, ...]
    functions: tuple[str, ...]
    checks: tuple[str, ...]
    steps: Sequence[Step]
    tests: Sequence[Test]
    samples: Sequence[Any]


_NUMBER_STEPS = (
    Step("multiply O by K", "O multiplied by K", "E * K", lambda v, k: v * k, False),
    Step("add K to O", "O plus K", "E + K", lambda v, k: v + k, False),
    Step("subtract K from O", "O minus K", "E - K", lambda v, k: v - k, False),
    Step("divide O by K", "O divided by K", "E / K", lambda v, k: v / k, False),
    Step("square O", "O squared", "E ** 2", lambda v, k: v**2, False),
    Step("round O down", "O rounded down", "Math.floor(E)", lambda v, k: math.floor(v)),
    Step("round O up", "O rounded up", "Math.ceil(E)", lambda v, k: math.copysign(math.ceil(v), v)),
    Step("take the remainder of O divided by K", "the remainder of O divided by K", "E % K",
         lambda v, k: math.fmod(v, k), False),
    Step("cap O at K", "O, but no more than K", "Math.min(E, K)", lambda v, k: min(v, k)),
    Step("raise O to K where it is less", "O, but no less than K", "Math.max(E, K)",
         lambda v, k: max(v, k)),
    Step("subtract O from K", "K minus O", "K - E", lambda v, k: k - v, False),
    Step("double O", "twice O", "E * 2", lambda v, k: v * 2, False),
)  # fmt: skip
_NUMBER_TESTS = (
    Test("is greater than K", "is not greater than K", "E > K", lambda v, k: v > k, "above"),
    Test("is more than K", "is not more than K", "E > K", lambda v, k: v > k, "above"),
    Test("is at least K", "is less than K", "E >= K", lambda v, k: v >= k, "above"),
    Test("is less than K", "is at least K", "E < K", lambda v, k: v < k, "below"),
    Test("is at most K", "is more than K", "E <= K", lambda v, k: v <= k, "below"),
    Test("is K", "is not K", "E === K", lambda v, k: v == k, "exact"),
    Test("is even", "is odd", "E % 2 === 0", lambda v, k: v % 2 == 0),
    Test("is odd", "is even", "E % 2 !== 0", lambda v, k: v % 2 != 0),
    Test("is divisible by K", "is not divisible by K", "E % K === 0", lambda v, k: v % k == 0),
    Test("is a whole number", "has a fraction", "Number.isInteger(E)", lambda v, k: v == int(v)),
    Test("is zero", "is not zero", "E === 0", lambda v, k: v == 0, "exact"),
)
_STRING_STEPS = (
    Step("trim O", "O without blanks around it", "E.trim()", lambda v, s: v.strip(" ")),
    Step("turn O into upper case", "O in upper case", "E.toUpperCase()", lambda v, s: v.upper()),
    Step("turn O into lower case", "O in lower case", "E.toLowerCase()", lambda v, s: v.lower()),
    Step("cut O to its first K characters", "the first K characters of O", "E.slice(0, K)",
         lambda v, k: v[:k]),
    Step("keep the last K characters of O", "the last K characters of O", "E.slice(-K)",
         lambda v, k: v[-k:]),
    Step("skip the first K characters of O", "O without its first K characters", "E.slice(K)",
         lambda v, k: v[k:]),
    Step("drop the last K characters of O", "O without its last K characters", "E.slice(0, -K)",
         lambda v, k: v[:-k]),
    Step('append "S" to O', 'O with "S" behind it', 'E + "S"', lambda v, s: v + s, False),
    Step('put "S" in front of O', 'O with "S" in front', '"S" + E', lambda v, s: s + v, False),
    Step("repeat O K times", "O repeated K times", "E.repeat(K)", lambda v, k: v * k),
    Step('replace the first "S" in O by "_"', 'O with its first "S" replaced by "_"',
         'E.replace("S", "_")', lambda v, s: v.replace(s, "_", 1)),
    Step('replace every "S" in O by a blank', 'O with every "S" replaced by a blank',
         'E.split("S").join(" ")', lambda v, s: v.replace(s, " ")),
    Step('keep the part of O before the first "S"', 'the part of O before the first "S"',
         'E.split("S")[0]', lambda v, s: v.split(s)[0]),
    Step('keep what follows the first "S" in O', 'what follows the first "S" in O',
         'E.split("S").slice(1).join("S")', lambda v, s: s.join(v.split(s)[1:])),
)  # fmt: skip
_STRING_TESTS = (
    Test("has more than K characters", "has at most K characters", "E.length > K",
         lambda v, k: len(v) > k, "above"),
    Test("is longer than K characters", "is no longer than K characters", "E.length > K",
         lambda v, k: len(v) > k, "above"),
    Test("has at least K characters", "has less than K characters", "E.length >= K",
         lambda v, k: len(v) >= k, "above"),
    Test("has less than K characters", "has at least K characters", "E.length < K",
         lambda v, k: len(v) < k, "below"),
    Test("has exactly K characters", "does not have exactly K characters", "E.length === K",
         lambda v, k: len(v) == k, "exact"),
    Test('starts with "S"', 'does not start with "S"', 'E.startsWith("S")',
         lambda v, s: v.startswith(s)),
    Test('contains "S"', 'does not contain "S"', 'E.includes("S")', lambda v, s: s in v),
    Test("is empty", "is not empty", 'E === ""', lambda v, s: v == "", "exact"),
    Test('is "S"', 'is not "S"', 'E === "S"', lambda v, s: v == s, "exact"),
    Test("is all in upper case", "is not all in upper case", "E === E.toUpperCase()",
         lambda v, s: v == v.upper()),
    Test("is all in lower case", "is not all in lower case", "E === E.toLowerCase()",
         lambda v, s: v == v.lower()),
    Test("has blanks around it", "has no blanks around it", "E !== E.trim()",
         lambda v, s: v != v.strip(" ")),
)  # fmt: skip
NUMBER = Kind(
    "number",
    ("n", "x", "value", "amount", "count", "score", "price", "points", "total", "level"),
    ("compute", "calculate", "convert", "adjust", "apply", "evaluate", "change", "result"),
    ("check", "isOk", "accept", "qualifies", "matches", "isAllowed", "isValid", "passes"),
    _NUMBER_STEPS,
    _NUMBER_TESTS,
    (0, 1, 2, 3, 5, 6, 8, 10, 12, 15, 20, 35, 60, 100),
)
STRING = Kind(
    "string",
    ("text", "s", "value", "line", "word", "title", "label", "code", "input", "key"),
    ("format", "convert", "clean", "prepare", "adjust", "rewrite", "change", "transform"),
    ("check", "isOk", "accept", "qualifies", "matches", "isAllowed", "isValid", "passes"),
    _STRING_STEPS,
    _STRING_TESTS,
    ("", "a", "-", "Hello", "two words", " blank ", "a-b-c", "LOUD", "x,y", "quiet", "Anna: 12",
     "first, second", "one:two", "A", "UP-DOWN", "long enough to be cut"),
)  # fmt: skip
SEPARATORS = ("-", ",", ":", " ", "a", "e", "o", "#", "!", "x", "A")
TEXTS = (
    ("name", "string", "age", "number", "is", "years old", "Ann", 30),
    ("city", "string", "people", "number", "has", "inhabitants", "Rome", 900),
    ("item", "string", "price", "number", "costs", "euros", "tea", 4),
    ("player", "string", "points", "number", "scored", "points", "Ben", 12),
    ("title", "string", "pages", "number", "has", "pages", "Emma", 350),
    ("file", "string", "size", "number", "takes", "bytes", "a.txt", 64),
    ("room", "string", "seats", "number", "has room for", "people", "Blue", 8),
    ("user", "string", "messages", "number", "has", "new messages", "Kim", 3),
    ("train", "string", "minutes", "number", "is", "minutes late", "S1", 15),
    ("recipe", "string", "portions", "number", "makes", "portions", "Soup", 6),
    ("product", "string", "left", "number", "is down to", "pieces", "lamp", 2),
    ("team", "string", "wins", "number", "won", "games", "Reds", 5),
    ("from", "string", "to", "string", "goes to", "today", "Oslo", "Bergen"),
    ("sender", "string", "receiver", "string", "wrote to", "again", "Ann", "Bob"),
    ("buyer", "string", "thing", "string", "bought", "yesterday", "Eve", "a hat"),
    ("owner", "string", "pet", "string", "lives with", "in town", "Sam", "Rex"),
)
"""Texts with two values in them: names and types of these, what stands between and behind."""
