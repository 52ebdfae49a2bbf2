"""From the experts that may answer to those that do: the best one, or several that go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hive_expert.router.index import Entry, RoutingIndex

COMPANION = 0.75
"""A further expert joins if it is at least so probable, relative to the best."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An expert that may answer; `nearness` is greater the closer its weights are to the engine."""

    entry: Entry
    probability: float
    nearness: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Experts with weights, ordered by name, and what is worth telling about them."""

    experts: tuple[tuple[str, float], ...]
    reasons: tuple[str, ...]


def choose(
    choices: Sequence[Choice], index: RoutingIndex, *, max_experts: int, margin: float
) -> Selection:
    """The experts that answer.

    The best is, within the margin of the highest probability, the nearest; then priority,
    probability and name decide. Every expert brings those it requires; a set that the members'
    constraints do not allow, or larger than `max_experts`, is not formed. Weights are in
    proportion to the probabilities, and what is required weighs as much as what requires it.
    """
    reasons: list[str] = []
    chosen: dict[str, Entry] = {}
    heads: list[Choice] = []
    best = max(choice.probability for choice in choices)
    for choice in _preferred(choices, best, margin):
        if heads and choice.probability < COMPANION * heads[0].probability:
            continue
        if choice.entry.name in chosen:
            heads.append(choice)
            continue
        together = {**chosen, **_with_required(choice.entry, index)}
        problem = _refusal(together, index, max_experts)
        if problem is None:
            chosen = together
            heads.append(choice)
        elif not heads or max_experts > 1:
            reasons.append(f"{choice.entry.name} does not answer: {problem}")
    return Selection(_weighted(heads, index), tuple(reasons))


def _preferred(choices: Sequence[Choice], best: float, margin: float) -> list[Choice]:
    close = [choice for choice in choices if choice.probability >= best - margin]
    others = [choice for choice in choices if choice.probability < best - margin]
    close.sort(key=lambda c: (-c.nearness, -c.entry.priority, -c.probability, c.entry.name))
    others.sort(key=lambda c: (-c.probability, c.entry.name))
    return [*close, *others]


def _with_required(entry: Entry, index: RoutingIndex) -> dict[str, Entry]:
    """The expert and, transitively, those it requires that the index has."""
    found: dict[str, Entry] = {}
    waiting = [entry.name]
    while waiting:
        name = waiting.pop()
        if name in index.positions and name not in found:
            found[name] = index.entries[index.positions[name]]
            waiting += found[name].constraints.requires
    return found


def _refusal(together: dict[str, Entry], index: RoutingIndex, max_experts: int) -> str | None:
    names = set(together)
    for entry in together.values():
        constraints = entry.constraints
        missing = sorted(set(constraints.requires) - names)
        if missing:
            return f"{entry.name} requires {missing[0]}, which is not there"
        if clash := sorted(set(constraints.incompatible_with) & names):
            return f"{entry.name} does not go with {clash[0]}"
        if constraints.max_chain is not None and len(names) > constraints.max_chain:
            return f"{entry.name} goes with at most {constraints.max_chain - 1} others"
    if len(names) > max_experts:
        return f"it would take {len(names)} experts, more than {max_experts}"
    return None


def _weighted(heads: Sequence[Choice], index: RoutingIndex) -> tuple[tuple[str, float], ...]:
    total = sum(choice.probability for choice in heads)
    weights: dict[str, float] = {}
    for choice in heads:
        weight = max(0.01, round(choice.probability / total, 2))
        for name in _with_required(choice.entry, index):
            weights[name] = max(weight, weights.get(name, 0.0))
    return tuple(sorted(weights.items()))
