"""What a parsed grammar can and cannot generate.

Each check is linear in the size of the grammar, or a sort away from it: a package may hold any
text, and this runs before a compiler sees it.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple, TypeAlias

from hive_expert.decoding.gbnf import Choice, Element, Reference, Repeat, Rule, Terminal
from hive_expert.decoding.gbnf_characters import Report
from hive_expert.decoding.grammar_cost import check_cost, warn_of_counted_choices

ROOT = "root"
MAX_SHORTEST_TEXT = 65_536
"""Characters of the shortest text that a grammar may demand."""
MAX_CYCLES = 16
"""Left recursions that are reported."""
MAX_SUGGESTIONS = 16
"""Undefined names for which the nearest rule is looked up."""
SHOWN_OF_A_CYCLE = 6
"""Rules of a left recursion that its message names."""

Bodies: TypeAlias = Mapping[str, Choice]
Shortest: TypeAlias = Mapping[Element, int]


def check_rules(rules: Mapping[str, Rule], report: Report, warn: Report) -> None:
    """Report what makes a grammar unfit to constrain generation, and warn of what is not meant so.

    ``rules`` maps each name to its first definition. A rule whose syntax was broken counts as
    defined and as matching something, so that one mistake is reported once.
    """
    bodies = {name: rule.body for name, rule in rules.items() if rule.body is not None}
    shortest = shortest_texts(bodies)
    _check_references(rules, bodies, report)
    _check_ends(rules, bodies, shortest, report)
    order = _left_corner_order(rules, bodies, shortest, report)
    check_cost(bodies, order, shortest, report)
    _check_root(rules, bodies, shortest, report)
    _warn_of_unused(rules, bodies, warn)
    warn_of_counted_choices(bodies, warn)


class _Production(NamedTuple):
    """``element`` matches ``times`` the concatenation of ``parts`` and ``characters`` more."""

    element: Element
    parts: tuple[Element, ...]
    characters: int = 0
    times: int = 1


def shortest_texts(bodies: Bodies) -> dict[Element, int]:
    """The length in characters of the shortest text of every element that matches any.

    0 means that the element may be empty; an element without an entry can never end. Lengths
    stop at ``MAX_SHORTEST_TEXT + 1``. A reference to a rule without a body counts as one
    character. This is Knuth's generalization of Dijkstra's algorithm: elements are settled in
    the order of their lengths, each once.
    """
    productions = list(_productions(bodies))
    missing = [len(p.parts) for p in productions]
    totals = [p.characters for p in productions]
    users: defaultdict[Element, list[int]] = defaultdict(list)
    for number, production in enumerate(productions):
        for part in production.parts:
            users[part].append(number)

    settled: dict[Element, int] = {}
    queue = [(totals[n], n) for n, production in enumerate(productions) if not production.parts]
    heapq.heapify(queue)
    while queue:
        length, number = heapq.heappop(queue)
        element = productions[number].element
        if element in settled:
            continue
        settled[element] = length
        for user in users[element]:
            missing[user] -= 1
            totals[user] = min(totals[user] + length, MAX_SHORTEST_TEXT + 1)
            if not missing[user]:
                total = totals[user] * productions[user].times
                heapq.heappush(queue, (min(total, MAX_SHORTEST_TEXT + 1), user))
    return settled


def _productions(bodies: Bodies) -> Iterator[_Production]:
    for element in elements_of(bodies.values()):
        match element:
            case Terminal(length=length):
                yield _Production(element, (), length)
            case Reference(name=name):
                body = bodies.get(name)
                yield _Production(element, (body,)) if body else _Production(element, (), 1)
            case Repeat(low=0):
                yield _Production(element, ())
            case Repeat(body=repeated, low=low):
                yield _Production(element, (repeated,), times=low)
            case Choice(alternatives=alternatives):
                for sequence in alternatives:
                    yield _Production(element, sequence)


def elements_of(roots: Iterable[Element]) -> Iterator[Element]:
    """Every element of these trees, in the order of the text."""
    stack = list(roots)[::-1]
    while stack:
        element = stack.pop()
        yield element
        match element:
            case Repeat(body=body):
                stack.append(body)
            case Choice(alternatives=alternatives):
                for sequence in reversed(alternatives):
                    stack.extend(reversed(sequence))


def _check_references(rules: Mapping[str, Rule], bodies: Bodies, report: Report) -> None:
    undefined: dict[str, int] = {}
    for element in elements_of(bodies.values()):
        if isinstance(element, Reference) and element.name not in rules:
            undefined.setdefault(element.name, element.at)
    for number, (name, at) in enumerate(undefined.items()):
        near = get_close_matches(name, rules, n=1) if number < MAX_SUGGESTIONS else []
        report(at, f"there is no rule named {name}", f"did you mean {near[0]}?" if near else "")


def _check_ends(
    rules: Mapping[str, Rule], bodies: Bodies, shortest: Shortest, report: Report
) -> None:
    for name, body in bodies.items():
        if body not in shortest:
            report(
                rules[name].at,
                f"{name} can never end: each of its alternatives needs more of itself",
                "add an alternative that comes to an end",
            )


def _left_corner_order(
    rules: Mapping[str, Rule], bodies: Bodies, shortest: Shortest, report: Report
) -> list[str]:
    """Rules in an order where each comes after those it may begin with.

    Left recursions are reported, and their rules left out.
    """
    begins_with = {name: _left_corners(body, bodies, shortest) for name, body in bodies.items()}
    reported: set[str] = set()
    for _ in range(MAX_CYCLES):
        graph = {
            name: [other for other in others if other not in reported]
            for name, others in begins_with.items()
            if name not in reported
        }
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            cycle = _from_the_first(error.args[1][:0:-1], rules)
            reported.update(cycle)
            report(
                rules[cycle[0]].at,
                f"left recursion: {_as_text(cycle)}",
                "let a rule take a character before it comes to itself; write lists as x (y x)*",
            )
    return []


def _left_corners(body: Choice, bodies: Bodies, shortest: Shortest) -> list[str]:
    """The rules that may stand where a text of ``body`` begins."""
    names: dict[str, None] = {}
    stack: list[Element] = [body]
    while stack:
        match stack.pop():
            case Reference(name=name) if name in bodies:
                names[name] = None
            case Repeat(body=repeated):
                stack.append(repeated)
            case Choice(alternatives=alternatives):
                for sequence in alternatives:
                    for part in sequence:
                        stack.append(part)
                        if shortest.get(part) != 0:
                            break
    return list(names)


def _from_the_first(cycle: list[str], rules: Mapping[str, Rule]) -> list[str]:
    start = min(range(len(cycle)), key=lambda i: rules[cycle[i]].at)
    return cycle[start:] + cycle[:start]


def _as_text(cycle: list[str]) -> str:
    if len(cycle) > SHOWN_OF_A_CYCLE:
        named = [*cycle[:SHOWN_OF_A_CYCLE], f"({len(cycle) - SHOWN_OF_A_CYCLE} more)", cycle[0]]
    else:
        named = [*cycle, cycle[0]]
    return " begins with ".join(named)


def _check_root(
    rules: Mapping[str, Rule], bodies: Bodies, shortest: Shortest, report: Report
) -> None:
    if ROOT not in rules:
        report(0, "there is no rule named root", "call the rule that a whole answer follows root")
        return
    reached = _reached(bodies)
    if not reached <= bodies.keys():
        return
    at, body = rules[ROOT].at, bodies[ROOT]
    if shortest.get(body, 0) > MAX_SHORTEST_TEXT:
        report(at, f"the shortest answer has more than {MAX_SHORTEST_TEXT} characters", "")
    elements = elements_of(bodies[name] for name in reached)
    if not any(isinstance(e, Terminal) and e.length for e in elements) and body in shortest:
        report(at, "the only answer is the empty text", "")


def _warn_of_unused(rules: Mapping[str, Rule], bodies: Bodies, warn: Report) -> None:
    if ROOT not in bodies:
        return
    reached = _reached(bodies)
    for name, rule in rules.items():
        if name not in reached:
            warn(rule.at, f"{name} is never used", "")


def _reached(bodies: Bodies) -> set[str]:
    """The names that root leads to, itself included."""
    reached = {ROOT}
    stack = [ROOT]
    while stack:
        body = bodies.get(stack.pop())
        for element in elements_of([body] if body else []):
            if isinstance(element, Reference) and element.name not in reached:
                reached.add(element.name)
                stack.append(element.name)
    return reached
