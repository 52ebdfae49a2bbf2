"""Constructs that a grammar compiler, or the search for each next token, pays for dearly.

All of them can be written otherwise, and the problems say how. The limits come from xgrammar 0.2.8
with a vocabulary of 49,152 tokens on one CPU core. What stays possible is ambiguity spread over
alternatives, such as `([^a]+ "b" | [^a]+ "c")*` many times over, which no quick check can tell.

A counted choice, such as `([^'] | "''"){0,160}`, is warned of: it compiles at once, and then the
mask of each token takes 30 ms (8 times), 40 (64) or 100 to 300 (160), if one of the alternatives
begins with most letters; with digits or a few words it takes 0.05, as with `*` for the count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from hive_expert.decoding.gbnf import Choice, Element, Reference, Repeat, Terminal
from hive_expert.decoding.gbnf_characters import Report

MAX_REPETITION_PRODUCT = 65_536
"""How often repetitions nested in one rule may repeat in all: 256 times 256. Through a reference
they do not multiply: compilers share the rule."""
MAX_OPTIONAL_RUN = 64
"""Elements in a row that may all be missing. A compiler follows every way through such a run: up
to 1 second for 64 of them, 11 for 200, minutes for 2,000."""

MIN_COUNTED = 8
"""Repetitions of a choice from which on its masks are slow; four take 3 ms."""
MAX_FOLLOWED = 8
"""References and groups of one element that are looked through to find a choice."""

Bodies: TypeAlias = Mapping[str, Choice]
Shortest: TypeAlias = Mapping[Element, int]


def check_cost(bodies: Bodies, order: list[str], shortest: Shortest, report: Report) -> None:
    """Report what is too costly.

    ``order`` lists rules after those they may begin with (rules of a left recursion are missing
    from it), and ``shortest`` tells which elements may be empty.
    """
    _check_repetitions(bodies, shortest, report)
    optional: dict[str, int] = {}
    endless: dict[str, bool] = {}
    for name in order:
        optional[name] = _leading_optionals(bodies[name], optional, shortest, _nobody)
        endless[name] = _is_endless(bodies[name], endless, shortest, _nobody)
    for body in bodies.values():
        _leading_optionals(body, optional, shortest, report)
        _is_endless(body, endless, shortest, report)


def warn_of_counted_choices(bodies: Bodies, warn: Report) -> None:
    """Warn of repetitions in which each token waits for its mask."""
    stack: list[Element] = list(bodies.values())
    while stack:
        match stack.pop():
            case Choice(alternatives=alternatives):
                stack.extend(part for sequence in alternatives for part in sequence)
            case Repeat(at=at, body=body, low=low, high=high):
                stack.append(body)
                if max(low, high or 0) >= MIN_COUNTED and _is_wide_choice(body, bodies):
                    warn(
                        at,
                        "a choice is counted here, and each token inside waits 30 ms and more",
                        "* or + instead of the count, with max_tokens as the bound, or one "
                        "character class instead of the choice",
                    )


def _is_wide_choice(element: Element, bodies: Bodies) -> bool:
    """Whether it is one of several things, of which one begins with most letters."""
    found = _looked_through(element, bodies)
    if not isinstance(found, Choice):
        return False
    firsts = (_looked_through(sequence[0], bodies) for sequence in found.alternatives)
    return any(isinstance(first, Terminal) and first.wide for first in firsts)


def _looked_through(element: Element, bodies: Bodies) -> Element:
    """What a rule's name or parentheses stand for, if that is one element."""
    for _ in range(MAX_FOLLOWED):
        if isinstance(element, Reference):
            element = bodies.get(element.name, element)
        elif isinstance(element, Choice) and [len(s) for s in element.alternatives] == [1]:
            element = element.alternatives[0][0]
        else:
            break
    return element


def _nobody(at: int, what: str, remedy: str) -> None:
    """Takes the problems of a first pass, which the second one finds again."""


def _check_repetitions(bodies: Bodies, shortest: Shortest, report: Report) -> None:
    """No repetition of what may be empty (a hidden left recursion), nor of too much."""
    stack: list[tuple[Element, int]] = [(body, 1) for body in bodies.values()]
    while stack:
        element, times = stack.pop()
        match element:
            case Choice(alternatives=alternatives):
                stack.extend((part, times) for sequence in alternatives for part in sequence)
            case Repeat(body=body, low=low, high=high):
                if shortest.get(body) == 0 and (high is None or high > 1):
                    report(
                        element.at,
                        "what is repeated here may be empty",
                        "repeat something that takes a character, and make the whole optional",
                    )
                times *= max(1, high or low)
                if times > MAX_REPETITION_PRODUCT:
                    report(
                        element.at,
                        f"nested repetitions make more than {MAX_REPETITION_PRODUCT} in all",
                        "lower the bounds",
                    )
                else:
                    stack.append((body, times))


def _leading_optionals(
    element: Element, leading: Mapping[str, int], shortest: Shortest, report: Report
) -> int:
    """How many elements may be missing before the first character; nesting bounds recursion."""
    match element:
        case Terminal(length=length):
            return 1 if length == 0 else 0
        case Reference(name=name):
            return leading.get(name, 0)
        case Repeat(body=body, low=low):
            inside = _leading_optionals(body, leading, shortest, report)
            return inside + 1 if low == 0 else inside
    longest = 0
    for sequence in element.alternatives:
        run = 0
        for part in reversed(sequence):
            own = _leading_optionals(part, leading, shortest, report)
            run = own + run if shortest.get(part) == 0 else own
            if run > MAX_OPTIONAL_RUN:
                report(
                    part.at,
                    f"more than {MAX_OPTIONAL_RUN} elements in a row may all be missing",
                    "put characters that must be there between them",
                )
                run = 0
        longest = max(longest, run)
    return longest


def _is_endless(
    element: Element, endless: Mapping[str, bool], shortest: Shortest, report: Report
) -> bool:
    """Whether a text of ``element`` may be one repetition without end and nothing else."""
    match element:
        case Terminal():
            return False
        case Reference(name=name):
            return endless.get(name, False)
        case Repeat(body=body, high=high):
            inside = _is_endless(body, endless, shortest, report)
            # What may be empty is reported already.
            if inside and (high is None or high > 1) and shortest.get(body) != 0:
                # (x+)+ reads xxx in four ways, and each level of nesting multiplies them.
                report(
                    element.at,
                    "a repetition of nothing but a repetition",
                    "one of them is enough, or put a separator between",
                )
            return inside or high is None
    found = False
    for sequence in element.alternatives:
        alone = [_is_endless(part, endless, shortest, report) for part in sequence]
        needed = [i for i, part in enumerate(sequence) if shortest.get(part) != 0]
        found |= any(alone[i] for i in needed) if len(needed) == 1 else not needed and any(alone)
    return found
