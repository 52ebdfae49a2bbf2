"""Small functions of one or two values: some steps, a condition, a choice, a text.

Each part exists twice, in TypeScript and in Python, so what a test expects is computed apart from
the answer it tests.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from text_to_typescript.expression_parts import (
    NUMBER,
    SEPARATORS,
    STRING,
    TEXTS,
    Kind,
    Step,
    Test,
)
from text_to_typescript.pipelines import literal
from text_to_typescript.task import Split, Task, function

_LETTER = re.compile(r"\b[A-Z]\b")
"""What stands for something in words and code."""


@dataclass
class _Draw:
    """The kind of value, its name and the source of chance of one task."""

    rng: random.Random

    def __post_init__(self) -> None:
        self.kind: Kind = self.rng.choice((NUMBER, STRING))
        self.name = self.rng.choice(self.kind.names)

    def constant(self, part: Step | Test) -> Any:
        """What `K` or `S` of a part is."""
        if '"S"' in part.code:
            return self.rng.choice(SEPARATORS)
        if self.kind is STRING:
            return self.rng.randint(2, 3 if "repeat" in part.code else 12)
        return self.rng.choice((2, 3, 4, 5, 8, 10, 12, 15, 18, 20, 25, 50, 60, 100))

    def step(self, *other_than: Step) -> Step:
        return self.rng.choice([s for s in self.kind.steps if s not in other_than])

    def test(self, *other_than: Test) -> Test:
        """None that says the same as another, and no two bounds."""
        codes = {test.code for test in other_than}
        bounds = {test.bound for test in other_than} - {""}
        fit = [t for t in self.kind.tests if t.code not in codes and not (t.bound and bounds)]
        return self.rng.choice(fit)

    def samples(self, compute: Callable[[Any], Any]) -> list[Any]:
        """Values that do not all give the same, if there are such."""
        for _ in range(20):
            chosen = self.rng.sample(list(self.kind.samples), 5)
            if len({str(compute(value)) for value in chosen}) > 1:
                break
        return chosen


def _fill(text: str, constant: Any, value: str) -> str:
    """A part's words or code with its constant and what stands for the value."""
    words = {"K": str(constant), "E": value, "O": value}
    return _named(text, words).replace('"S"', json.dumps(constant))


def _named(text: str, names: Mapping[str, str]) -> str:
    return _LETTER.sub(lambda found: names.get(found[0], found[0]), text)


def _applied(step: Step, constant: Any, code: str, *, binds: bool) -> str:
    """A step's code behind other code, in brackets where it would be torn apart."""
    alone = binds or step.code.startswith("Math.")
    return _fill(step.code, constant, code if alone else f"({code})")


def _steps(draw: _Draw) -> Task:
    """One to three steps after one another."""
    first = draw.step()
    chosen = [first]
    for _ in range(draw.rng.choices((0, 1, 2), (45, 40, 15))[0]):
        chosen.append(draw.step(*chosen))
    constants = [draw.constant(step) for step in chosen]
    code, binds = draw.name, True
    for step, constant in zip(chosen, constants, strict=True):
        code, binds = _applied(step, constant, code, binds=binds), step.binds
    orders = [
        _fill(step.do, constant, draw.name if step is first else "the result")
        for step, constant in zip(chosen, constants, strict=True)
    ]
    done = _fill(first.done, constants[0], draw.name)
    told = orders[0] if len(orders) == 1 else f"{', '.join(orders[:-1])} and then {orders[-1]}"
    if len(chosen) == 1:
        does = draw.rng.choice((f"return {done}", f"give {done}", f"return {done}", orders[0]))
    else:
        does = draw.rng.choice(
            (f"return what you get when you {told}", f"give the result when you {told}",
             f"start with {done}, then {' and then '.join(orders[1:])}, and return that")
        )  # fmt: skip

    def apply(value: Any) -> Any:
        for step, constant in zip(chosen, constants, strict=True):
            value = step.apply(value, constant)
        return value

    return _task(draw, draw.kind.functions, draw.kind.type, does, code, apply)


def _condition(draw: _Draw) -> Task:
    """Whether a value is so, or so and so, or so or so."""
    does, code, check = _predicate(draw)
    lead = draw.rng.choice(("tell whether", "check if", "return true if", "say whether"))
    return _task(draw, draw.kind.checks, "boolean", f"{lead} {does}", code, check)


def _predicate(draw: _Draw) -> tuple[str, str, Callable[[Any], bool]]:
    first = draw.test()
    k, x = draw.constant(first), draw.name
    told, code = f"{x} {_fill(first.holds, k, x)}", _fill(first.code, k, x)
    how = draw.rng.choices(("one", "not", "and", "or"), (45, 15, 22, 18))[0]
    if how == "one":
        return told, code, lambda value: first.check(value, k)
    if how == "not":
        told = f"{x} {_fill(first.fails, k, x)}"
        return told, _negated(code), lambda value: not first.check(value, k)
    second = draw.test(first)
    m = draw.constant(second)
    told = f"{told} {how} {_fill(second.holds, m, x)}"
    if how == "and":
        code = f"{code} && {_fill(second.code, m, x)}"
        return told, code, lambda value: first.check(value, k) and second.check(value, m)
    code = f"{code} || {_fill(second.code, m, x)}"
    return told, code, lambda value: first.check(value, k) or second.check(value, m)


_OPPOSITE = {
    " >= ": " < ", " <= ": " > ", " > ": " <= ", " < ": " >= ", " === ": " !== ", " !== ": " === ",
}  # fmt: skip


def _negated(code: str) -> str:
    for sign, opposite in _OPPOSITE.items():
        if sign in code:
            return code.replace(sign, opposite, 1)
    return f"!{code}"


_CHOICES = (
    ("yes", "no"), ("ok", "error"), ("high", "low"), ("big", "small"), ("open", "closed"),
    ("pass", "fail"), ("long", "short"), ("special", "normal"), ("accepted", "rejected"),
)  # fmt: skip


def _choice(draw: _Draw) -> Task:
    """One of two texts, or a value changed only where it is so."""
    told, code, check = _predicate(draw)
    if draw.rng.random() < 0.5:
        a, b = draw.rng.choice(_CHOICES)
        does = draw.rng.choice(
            (f'return "{a}" if {told}, and "{b}" otherwise', f'give "{a}" when {told}, else "{b}"')
        )
        written = f'{code} ? "{a}" : "{b}"'
        names = ("label", "describe", "status", "category", "rate", "judge")
        return _task(draw, names, "string", does, written, lambda v: a if check(v) else b)
    step = draw.step()
    k = draw.constant(step)
    done, x = _fill(step.done, k, draw.name), draw.name
    does = draw.rng.choice(
        (f"return {done} if {told}, and {x} as it is otherwise",
         f"if {told}, return {done}, else {x} itself")
    )  # fmt: skip
    written = f"{code} ? {_fill(step.code, k, x)} : {x}"
    return _task(
        draw, draw.kind.functions, draw.kind.type, does, written,
        lambda v: step.apply(v, k) if check(v) else v,
    )  # fmt: skip


_PAIRS: tuple[tuple[str, str, Callable[[Any, Any], Any]], ...] = (
    ("A + B", "the sum of A and B", lambda a, b: a + b),
    ("A * B", "the product of A and B", lambda a, b: a * b),
    ("A - B", "A minus B", lambda a, b: a - b),
    ("Math.max(A, B)", "the larger of A and B", max),
    ("Math.min(A, B)", "the smaller of A and B", min),
)


def _two_numbers(draw: _Draw) -> Task:
    """Two numbers put together, and mostly a step behind it."""
    draw.kind = NUMBER
    a, b = draw.rng.sample(NUMBER.names, 2)
    code, told, compute = draw.rng.choice(_PAIRS)
    named = {"A": a, "B": b}
    code, told = _named(code, named), _named(told, named)
    step = draw.rng.choice((None, *NUMBER.steps))
    if step is None:
        does = draw.rng.choice((f"return {told}", f"compute {told}"))
        return _pair_task(draw, (a, b), does, code, compute)
    k = draw.constant(step)
    written = _applied(step, k, code, binds=code.startswith("Math"))
    does = draw.rng.choice(
        (f"take {told} and {_fill(step.do, k, 'it')}",
         f"return what you get when you {_fill(step.do, k, told)}")
    )  # fmt: skip
    return _pair_task(draw, (a, b), does, written, lambda x, y: step.apply(compute(x, y), k))


def _pair_task(
    draw: _Draw, names: tuple[str, str], does: str, code: str, compute: Callable[[Any, Any], Any]
) -> Task:
    name = draw.rng.choice((*NUMBER.functions, "combine", "mix", "both"))
    signature = f"({names[0]}: number, {names[1]}: number): number"
    pairs = [tuple(draw.rng.sample(list(NUMBER.samples), 2)) for _ in range(4)]
    tests = [f"expectEqual({name}({x}, {y}), {literal(compute(x, y))});" for x, y in pairs]
    return _written(draw, name, signature, does, code, tests)


def _text(draw: _Draw) -> Task:
    """A text with two values in it."""
    a, a_type, b, b_type, between, behind, one, other = draw.rng.choice(TEXTS)
    code = f"`${{{a}}} {between} ${{{b}}} {behind}`"
    sample = f"{one} {between} {other} {behind}"
    does = draw.rng.choice(
        (f'return a text such as "{sample}" from {a} and {b}',
         f'return the text "{a.upper()} {between} {b.upper()} {behind}" with {a} and {b} put in',
         f'describe {a} and {b} in a sentence like "{sample}"')
    )  # fmt: skip
    name = draw.rng.choice(("describe", "toText", "sentence", "summary", "message", "report"))
    signature = f"({a}: {a_type}, {b}: {b_type}): string"
    called = f"{name}({literal(one)}, {literal(other)})"
    tests = [f"expectEqual({called}, {literal(sample)});"]
    return _written(draw, name, signature, does, code, tests)


def _task(
    draw: _Draw,
    names: tuple[str, ...],
    result: str,
    does: str,
    code: str,
    compute: Callable[[Any], Any],
) -> Task:
    name = draw.rng.choice(names)
    signature = f"({draw.name}: {draw.kind.type}): {result}"
    tests = [
        f"expectEqual({name}({literal(v)}), {literal(compute(v))});" for v in draw.samples(compute)
    ]
    return _written(draw, name, signature, does, code, tests)


def _written(
    draw: _Draw, name: str, signature: str, does: str, code: str, tests: list[str]
) -> Task:
    told = "\n".join(tests)
    if draw.rng.random() < 0.12:
        head = f"const {name} = {signature} =>"
        return Task("expression", does, f"{head} {code};", told, wanted=head)
    written = function(name, signature, [f"return {code};"])
    return Task("expression", does, written, told, wanted=f"function {name}{signature}")


_MAKERS = ((_steps, 40), (_condition, 22), (_choice, 18), (_two_numbers, 12), (_text, 8))


def task(rng: random.Random, _split: Split) -> Task:
    """One of any of these."""
    makers, weights = zip(*_MAKERS, strict=True)
    made: Task = rng.choices(makers, weights)[0](_Draw(rng))
    return made
