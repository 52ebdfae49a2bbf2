"""What can be done with an array of numbers or strings: filter, change, and put together.

Each part exists twice, in TypeScript and in Python, so what a test expects is computed apart from
the answer it tests. Some combinations of parts are held out for the tests: their parts are known
from training, the combination is not.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from text_to_typescript.pipeline_parts import NUMBERS, STRINGS, Change, Condition, Elements
from text_to_typescript.task import Split, Task, function

HELD_OUT_EVERY = 6
"""One of so many combinations is not in training."""
_WORDS = (
    *("apple", "Bear", "cloud", "delta", "egg", "Forest", "green", "house", "Ink", "jam", "lemon"),
    *("map", "Nest", "ocean", "pear", "quick", "river", "Stone", "tea", "Vine", "wood", "zebra"),
    *("a", "ab", "an", "level", "noon", "radar"),
)


@dataclass
class _Draw:
    """The names, constants and sample arrays of one task."""

    rng: random.Random
    kind: Elements

    def __post_init__(self) -> None:
        self.list = self.rng.choice(self.kind.lists)
        self.v = self.rng.choice(self.kind.short)
        self.noun = self.rng.choice(self.kind.nouns)
        self.k = self.rng.randint(2, 9)
        self.s = self.rng.choice("aeorst")

    def constant(self, code: str) -> Any:
        return self.s if '"S"' in code else self.k

    def write(self, text: str) -> str:
        """Fill the constants, and in code the element's name."""
        return text.replace("K", str(self.k)).replace('"S"', f'"{self.s}"')

    def expression(self, code: str) -> str:
        return self.write(code.replace("V", self.v)) if "V" in code else self.write(code)

    def samples(self) -> list[list[Any]]:
        size = self.rng.randint(5, 8)
        if self.kind is NUMBERS:
            some = [self.rng.randint(-9, 20) for _ in range(size)] + [self.k, self.k * 2]
        else:
            some = [*self.rng.sample(_WORDS, size), self.s, ""]
        self.rng.shuffle(some)
        return [some, some[:3], []]

    def phrase(self, test: Condition, *, many: bool = True) -> str:
        noun = f"{self.noun}s" if many else self.noun
        return " ".join(p for p in (test.before, noun, self.write(test.after)) if p)


def task(rng: random.Random, split: Split) -> Task:
    """A combination of an operation with what it needs, drawn anew until it suits the split."""
    while True:
        kind = rng.choice((NUMBERS, STRINGS))
        operation = rng.choice(_OPERATIONS)
        test, change = rng.choice(kind.tests), rng.choice(kind.changes)
        draw = _Draw(rng, kind)
        parts = operation(draw, test, change)
        if parts is None:
            continue
        family = f"pipeline/{parts.id}"
        if is_held_out(f"{kind.type} {parts.id}") == (split == "test"):
            return _task(draw, family, parts, split)


def is_held_out(combination: str) -> bool:
    """Whether a combination of parts is for the tests; by its text, so in every run the same."""
    return sha256(combination.encode()).digest()[0] % HELD_OUT_EVERY == 0


@dataclass(frozen=True, slots=True)
class _Parts:
    """What an operation is: how it is called and told, written and computed."""

    id: str
    names: tuple[str, ...]
    does: tuple[str, ...]
    result: str
    code: str
    compute: Callable[[list[Any]], Any]


def _task(draw: _Draw, family: str, parts: _Parts, split: Split) -> Task:
    name = draw.rng.choice(parts.names)
    signature = f"({draw.list}: {draw.kind.type}[]): {parts.result}"
    ways = parts.does
    does = draw.rng.choice(ways) if len(ways) < 3 or split != "test" else ways[-1]
    if split != "test" and len(ways) > 2:
        does = draw.rng.choice(ways[:-1])
    calls = [(sample, parts.compute(sample)) for sample in draw.samples()]
    tests = [f"expectEqual({name}({literal(x)}), {literal(y)});" for x, y in calls]
    if draw.rng.random() < 0.15:
        head = f"const {name} = {signature} =>"
        return Task(family, does, f"{head}\n  {parts.code};", "\n".join(tests), wanted=head)
    code = function(name, signature, [f"return {parts.code};"])
    return Task(family, does, code, "\n".join(tests), wanted=f"function {name}{signature}")


def literal(value: Any) -> str:
    """A JSON value in TypeScript; None is undefined."""
    return "undefined" if value is None else json.dumps(value, ensure_ascii=False)


def _keep(d: _Draw, t: Condition, _: Change) -> _Parts:
    c, p, x = d.constant(t.code), d.phrase(t), d.list
    return _Parts(
        f"keep-{t.id}", ("select", "pick", "only", "keep", "filtered"),
        (f"return the {p} in {x}", f"keep only the {p} of {x}", f"filter {x} for the {p}"),
        f"{d.kind.type}[]", f"{x}.filter(({d.v}) => {d.expression(t.code)})",
        lambda values: [v for v in values if t.holds(v, c)],
    )  # fmt: skip


def _remove(d: _Draw, t: Condition, _: Change) -> _Parts:
    c, p, x = d.constant(t.code), d.phrase(t), d.list
    return _Parts(
        f"remove-{t.id}", ("remove", "reject", "without", "drop", "exclude"),
        (f"remove the {p} from {x}", f"return {x} without the {p}", f"leave the {p} out of {x}"),
        f"{d.kind.type}[]", f"{x}.filter(({d.v}) => !({d.expression(t.code)}))",
        lambda values: [v for v in values if not t.holds(v, c)],
    )  # fmt: skip


def _count(d: _Draw, t: Condition, _: Change) -> _Parts:
    c, p, x = d.constant(t.code), d.phrase(t), d.list
    return _Parts(
        f"count-{t.id}", ("count", "howMany", "countMatching", "numberOf"),
        (f"count the {p} in {x}", f"return how many {p} there are in {x}",
         f"tell the number of {p} in {x}"),
        "number", f"{x}.filter(({d.v}) => {d.expression(t.code)}).length",
        lambda values: sum(t.holds(v, c) for v in values),
    )  # fmt: skip


def _some(d: _Draw, t: Condition, _: Change) -> _Parts:
    c, p, x = d.constant(t.code), d.phrase(t), d.list
    return _Parts(
        f"some-{t.id}", ("hasAny", "anyOf", "contains", "some"),
        (f"tell whether there are any {p} in {x}", f"check if {x} has any {p}",
         f"return true if some {p} are in {x}"),
        "boolean", f"{x}.some(({d.v}) => {d.expression(t.code)})",
        lambda values: any(t.holds(v, c) for v in values),
    )  # fmt: skip


def _every(d: _Draw, t: Condition, _: Change) -> _Parts:
    c, are, x = d.constant(t.code), d.write(t.are), d.list
    return _Parts(
        f"every-{t.id}", ("allMatch", "areAll", "every", "checkAll"),
        (f"tell whether all {d.noun}s in {x} {are}", f"check if all of {x} {are}",
         f"return true if all the {d.noun}s of {x} {are}"),
        "boolean", f"{x}.every(({d.v}) => {d.expression(t.code)})",
        lambda values: all(t.holds(v, c) for v in values),
    )  # fmt: skip


def _find(d: _Draw, t: Condition, _: Change) -> _Parts:
    c, p, x = d.constant(t.code), d.phrase(t, many=False), d.list
    return _Parts(
        f"find-{t.id}", ("findFirst", "firstMatch", "find", "firstOf"),
        (f"return the first {p} in {x}, or undefined if there is none",
         f"find the first {p} of {x}, undefined if there is none",
         f"give the {p} that comes first in {x}, or undefined"),
        f"{d.kind.type} | undefined", f"{x}.find(({d.v}) => {d.expression(t.code)})",
        lambda values: next((v for v in values if t.holds(v, c)), None),
    )  # fmt: skip


def _index(d: _Draw, t: Condition, _: Change) -> _Parts:
    c, p, x = d.constant(t.code), d.phrase(t, many=False), d.list
    return _Parts(
        f"index-{t.id}", ("indexOfFirst", "position", "findIndex", "whereIs"),
        (f"return the index of the first {p} in {x}, or -1 if there is none",
         f"find at which index of {x} the first {p} is, -1 if there is none",
         f"tell where in {x} the first {p} stands, or -1"),
        "number", f"{x}.findIndex(({d.v}) => {d.expression(t.code)})",
        lambda values: next((i for i, v in enumerate(values) if t.holds(v, c)), -1),
    )  # fmt: skip


def _sum(d: _Draw, t: Condition, _: Change) -> _Parts | None:
    if d.kind is not NUMBERS:
        return None
    c, p, x = d.constant(t.code), d.phrase(t), d.list
    return _Parts(
        f"sum-{t.id}", ("sum", "total", "sumOf", "addUp"),
        (f"return the sum of the {p} in {x}", f"add up the {p} of {x}",
         f"compute the total of the {p} in {x}"),
        "number",
        f"{x}.filter(({d.v}) => {d.expression(t.code)}).reduce((a, b) => a + b, 0)",
        lambda values: sum(v for v in values if t.holds(v, c)),
    )  # fmt: skip


def _change(d: _Draw, _: Condition, m: Change) -> _Parts:
    c, done, x = d.constant(m.code), d.write(m.done), d.list
    return _Parts(
        f"change-{m.id}", ("convert", "transform", "change", "mapAll", "adjusted"),
        (f"return {x} with each {d.noun} {done}", f"return every {d.noun} of {x} {done}",
         f"give a new array with each {d.noun} of {x} {done}"),
        f"{m.result}[]", f"{x}.map(({d.v}) => {d.expression(m.code)})",
        lambda values: [m.apply(v, c) for v in values],
    )  # fmt: skip


def _keep_and_change(d: _Draw, t: Condition, m: Change) -> _Parts | None:
    if t.code.count('"S"') and m.code.count('"S"'):
        return None
    c, e, p, x = d.constant(t.code), d.constant(m.code), d.phrase(t), d.list
    done = d.write(m.done)
    return _Parts(
        f"keep-{t.id}-change-{m.id}", ("collect", "pickAndConvert", "process", "prepare"),
        (f"return the {p} of {x}, each {done}", f"take the {p} in {x} and return each {done}",
         f"give each of the {p} in {x} {done}"),
        f"{m.result}[]",
        f"{x}.filter(({d.v}) => {d.expression(t.code)}).map(({d.v}) => {d.expression(m.code)})",
        lambda values: [m.apply(v, e) for v in values if t.holds(v, c)],
    )  # fmt: skip


def _sum_of(d: _Draw, _: Condition, m: Change) -> _Parts | None:
    if m.result != "number" or not m.nouns:
        return None
    c, x = d.constant(m.code), d.list
    return _Parts(
        f"sum-of-{m.id}", ("totalOf", "sumUp", "addAll", "computeTotal"),
        (f"return the sum of the {m.nouns} of {x}", f"add up the {m.nouns} of {x}",
         f"compute the total of the {m.nouns} of all {x}"),
        "number", f"{x}.reduce((sum, {d.v}) => sum + {d.expression(m.code)}, 0)",
        lambda values: sum(m.apply(v, c) for v in values),
    )  # fmt: skip


def _join(d: _Draw, t: Condition, _: Change) -> _Parts | None:
    if d.kind is not STRINGS:
        return None
    c, p, x = d.constant(t.code), d.phrase(t), d.list
    between = d.rng.choice((", ", " ", "-", "; "))
    return _Parts(
        f"join-{t.id}", ("joined", "joinAll", "asText", "combine"),
        (f'join the {p} of {x} with "{between}"', f'return the {p} in {x} joined by "{between}"',
         f'put the {p} of {x} into one string with "{between}" between them'),
        "string", f'{x}.filter(({d.v}) => {d.expression(t.code)}).join("{between}")',
        lambda values: between.join(v for v in values if t.holds(v, c)),
    )  # fmt: skip


_OPERATIONS: Sequence[Callable[[_Draw, Condition, Change], _Parts | None]] = (
    _keep, _remove, _count, _some, _every, _find, _index, _sum, _change, _change,
    _keep_and_change, _keep_and_change, _sum_of, _join,
)  # fmt: skip
