"""What is asked for, and the words and names that tasks are made of."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to write.

    `wanted` is the signature that the request shows, empty where it tells everything in words;
    `given` are declarations that the request shows and the answer may use. `does` begins with a
    verb (*return the sum of …*), or is a noun where `is_thing` (*a class Stack with …*).
    """

    family: str
    does: str
    code: str
    tests: str
    wanted: str = ""
    given: str = ""
    is_thing: bool = False

    @property
    def program_tests(self) -> str:
        """The tests with what the request had given."""
        return f"{self.given}\n{self.tests}" if self.given else self.tests


def indented(body: Sequence[str]) -> str:
    """Lines of a body, two blanks in."""
    return "\n".join(f"  {line}" if line else "" for line in body)


def function(name: str, signature: str, body: Sequence[str], *, is_async: bool = False) -> str:
    """A function declaration."""
    head = "async function" if is_async else "function"
    return f"{head} {name}{signature} {{\n{indented(body)}\n}}"


def third_person(does: str) -> str:
    """*return the sum* as *returns the sum*."""
    verb, _, rest = does.partition(" ")
    ending = "es" if re.search(r"(ss|sh|ch|x|o)$", verb) else "s"
    if re.search(r"[^aeiou]y$", verb):
        verb, ending = verb[:-1], "ies"
    if verb in ("be", "have"):
        verb, ending = {"be": "is", "have": "has"}[verb], ""
    return f"{verb}{ending} {rest}"


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def held_out(rng: random.Random, split: Split, choices: Sequence[str]) -> str:
    """One of the wordings; the last of three or more is the tests' alone."""
    if len(choices) < 3:
        return rng.choice(choices)
    return choices[-1] if split == "test" else rng.choice(choices[:-1])
