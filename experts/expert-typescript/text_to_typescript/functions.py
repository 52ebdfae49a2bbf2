"""Function and class families, written out as text with slots in them.

The form is told at the top of ``data/functions-train.txt``. What a slot is filled with, and what
the function is called, differs from task to task; the tests follow.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hive_expert.errors import DatasetError, Problem
from text_to_typescript import resources
from text_to_typescript.task import Split, Task, function, held_out

ARROW_SHARE = 0.12
EXPORT_SHARE = 0.06
_SLOT = re.compile(r"(?<!\\)@([a-z]+)")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_KEYS = ("names", "sig", "do", "async", "class", "=", "t", "T")
MAX_TRIES = 50


@dataclass(frozen=True)
class Family:
    """Functions that do the same under different names.

    Law: every slot that a line uses is the name or one of `slots`.
    """

    id: str
    names: tuple[str, ...]
    signature: str
    slots: Mapping[str, tuple[str, ...]]
    does: tuple[str, ...]
    body: tuple[str, ...]
    calls: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]
    is_async: bool = False
    is_class: bool = False

    def task(self, rng: random.Random, split: Split) -> Task:
        """One of its functions, with names and numbers of its own."""
        chosen = self._choose(rng)

        def fill(text: str) -> str:
            return _SLOT.sub(lambda m: chosen[m[1]], text).replace("\\@", "@")

        does, body = fill(held_out(rng, split, self.does)), [fill(line) for line in self.body]
        tests = [f"expectEqual(@name({a}), {b});" for a, b in self.calls] + list(self.tests)
        told = "\n".join(fill(test) for test in tests)
        if self.is_class:
            return Task(self.id, does, "\n".join(body), told, is_thing=True)
        name, signature = chosen["name"], fill(self.signature)
        one = re.fullmatch(r"return (.*);", body[0]) if len(body) == 1 else None
        export = "export " if rng.random() < EXPORT_SHARE else ""
        plain = not self.is_async and " is " not in signature and "\n" not in does
        if one and plain and not signature.startswith("<") and rng.random() < ARROW_SHARE:
            head = f"{export}const {name} = {signature} =>"
            value = f"({one[1]})" if one[1].startswith("{") else one[1]
            return Task(self.id, does, f"{head} {value};", told, wanted=head)
        wanted = f"{export}{'async ' if self.is_async else ''}function {name}{signature}"
        code = export + function(name, signature, body, is_async=self.is_async)
        return Task(self.id, does, code, told, wanted=wanted)

    def _choose(self, rng: random.Random) -> dict[str, str]:
        for _ in range(MAX_TRIES):
            chosen = {"name": rng.choice(self.names).rstrip("_")}
            for slot, ways in self.slots.items():
                way = rng.choice(ways)
                between = _RANGE.fullmatch(way)
                low_high = (int(between[1]), int(between[2])) if between else None
                chosen[slot] = str(rng.randint(*low_high)) if low_high else way.rstrip("_")
            if len(set(chosen.values())) == len(chosen):
                return chosen
        raise DatasetError(f"family {self.id}: its slots cannot all differ")


@dataclass
class _Lines:
    """A family while its lines are read."""

    id: str
    values: dict[str, list[str]] = field(default_factory=dict)


def parse_families(text: str, where: str) -> dict[str, Family]:
    """Families by id, in the order of the text.

    Raises:
        DatasetError: with every line that is not understood.
    """
    problems: list[Problem] = []
    read: list[_Lines] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("## "):
            read.append(_Lines(line[3:].strip()))
            continue
        if not line.strip() or line.startswith("#"):
            continue
        key, _, value = ("=", "", line[2:]) if line.startswith("=") else line.partition(": ")
        if read and (key in _KEYS or re.fullmatch(r"@[a-z]+", key)):
            read[-1].values.setdefault(key, []).append(value)
        else:
            problems.append(Problem(f"{where}:{number}", f"not understood: {line[:40]!r}"))
    families = {}
    for lines in read:
        families[lines.id] = _family(lines)
        problems += (Problem(f"{where}: {lines.id}", what) for what in _mistakes(lines))
    if problems:
        raise DatasetError(*problems)
    return families


def _family(lines: _Lines) -> Family:
    def words(key: str) -> tuple[str, ...]:
        return tuple(" ".join(lines.values.get(key, [])).split())

    calls = [test.rpartition(" => ") for test in lines.values.get("t", [])]
    return Family(
        lines.id,
        words("names"),
        "".join(lines.values.get("sig", [])),
        {key[1:]: words(key) for key in lines.values if key.startswith("@")},
        tuple(way.strip() for way in "".join(lines.values.get("do", [])).split(" | ")),
        tuple(lines.values.get("=", [])),
        tuple((arguments, result) for arguments, _, result in calls),
        tuple(lines.values.get("T", [])),
        is_async="async" in lines.values,
        is_class="class" in lines.values,
    )


def _mistakes(lines: _Lines) -> Iterator[str]:
    for key in ("names", "do", "="):
        if not lines.values.get(key):
            yield f"has no {key!r}"
    if "sig" not in lines.values and "class" not in lines.values:
        yield "has no 'sig'"
    if not lines.values.get("t") and not lines.values.get("T"):
        yield "has no tests"
    known = {key[1:] for key in lines.values if key.startswith("@")} | {"name"}
    used = {slot for texts in lines.values.values() for t in texts for slot in _SLOT.findall(t)}
    for slot in sorted(used - known):
        yield f"uses @{slot}, which is no slot"


TRAIN = parse_families(resources.text("functions-train.txt"), "functions-train.txt")
VALIDATION = parse_families(resources.text("functions-validation.txt"), "functions-validation.txt")
TEST = parse_families(resources.text("functions-test.txt"), "functions-test.txt")
