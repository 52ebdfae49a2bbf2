"""What must hold between the steps of a pipeline: names, needs, order, depth. Pure."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from hive_expert.jobs.pipelines.limits import MAX_CHAIN, MAX_COMPARED, MAX_SHOWN_CHARACTERS
from hive_expert.jobs.pipelines.template import Path, Reference, Template


@dataclass(frozen=True, slots=True)
class Node:
    """What the graph needs to know of a step, also of one that is wrong in other ways."""

    name: str
    templates: Mapping[str, Template]
    """Field → its template."""
    is_json: bool = False
    """Whether its answer has fields."""
    json_schema: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        """The steps whose answers it is asked with, in the order of their mention."""
        found = (r.step for t in self.templates.values() for r in t.references)
        return tuple(dict.fromkeys(step for step in found if step is not None))


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong between steps."""

    at: tuple[str | int, ...]
    """Where in the pipeline: `("steps", 1, "prompt")`."""
    what: str
    remedy: str = ""


def order_of(nodes: Sequence[Node]) -> tuple[int, ...]:
    """Places of the steps, each after all it needs, otherwise as they stand in the file.

    Those that stand in a circle, or need what does, are left out.
    """
    names = {node.name for node in nodes}
    left, done = list(range(len(nodes))), set[str]()
    order: list[int] = []
    while True:
        ready = (p for p in left if names.intersection(nodes[p].needs) <= done)
        place = next(ready, None)
        if place is None:
            return tuple(order)
        order.append(place)
        left.remove(place)
        done.add(nodes[place].name)


def chains_of(nodes: Sequence[Node]) -> dict[str, int]:
    """Step → how many steps the longest chain has that it stands in."""
    ordered = [nodes[place] for place in order_of(nodes)]
    down: dict[str, int] = {}
    for node in ordered:
        down[node.name] = 1 + max((down.get(need, 0) for need in node.needs), default=0)
    up = dict.fromkeys(down, 1)
    for node in reversed(ordered):
        for need in node.needs:
            if need in up:
                up[need] = max(up[need], 1 + up[node.name])
    return {name: down[name] + up[name] - 1 for name in down}


def faults_of(nodes: Sequence[Node], output: str | None) -> Iterator[Fault]:
    """Everything that is wrong between the steps of a pipeline."""
    yield from _twice(nodes)
    known = {node.name: node for node in nodes}
    for place, node in enumerate(nodes):
        for name, template in node.templates.items():
            for reference in template.references:
                yield from _unmet(("steps", place, name), reference, known)
    yield from _circle(nodes)
    yield from _too_deep(nodes)
    if output is not None and output not in known:
        yield Fault(("output",), f"there is no step {output!r}", nearest(output, known))


def nearest(name: str, known: Iterable[str]) -> str:
    """What was probably meant, or what there is; of many names the first are looked at."""
    names = list(islice(known, MAX_COMPARED))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]}?"
    return f"known here: {', '.join(each[:MAX_SHOWN_CHARACTERS] for each in names[:20])}"


def _twice(nodes: Sequence[Node]) -> Iterator[Fault]:
    count = Counter(node.name for node in nodes)
    seen = set()
    for place, node in enumerate(nodes):
        if count[node.name] > 1 and node.name in seen:
            yield Fault(("steps", place, "name"), f"another step is named {node.name!r} already")
        seen.add(node.name)


def _unmet(
    at: tuple[str | int, ...], reference: Reference, known: Mapping[str, Node]
) -> Iterator[Fault]:
    if reference.step is None:
        return
    step = known.get(reference.step)
    if step is None:
        what = f"{{{{{reference}}}}}: there is no step {reference.step!r}"
        yield Fault(at, what, nearest(reference.step, known))
    elif reference.path and not step.is_json:
        what = f"{{{{{reference}}}}}: the answer of {step.name!r} is a text without fields"
        yield Fault(at, what, "give that step `format: json` or a json_schema")
    elif reference.path:
        stray = _not_in_schema(step.json_schema, reference.path)
        if stray is not None:
            name, fields = stray
            what = f"{{{{{reference}}}}}: the json_schema of {step.name!r} has no {name!r}"
            yield Fault(at, what, nearest(name, fields))


def _not_in_schema(schema: Any, path: Path) -> tuple[str, list[str]] | None:
    """The first part of a path that a schema names no property for, and those it does name.

    Where a schema says it in another way than by `properties`, it is not judged.
    """
    for step in path:
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        if not isinstance(properties, Mapping) or schema.get("additionalProperties", False):
            return None
        if step not in properties:
            return step, list(properties)
        schema = properties[step]
    return None


def _circle(nodes: Sequence[Node]) -> Iterator[Fault]:
    """One circle, if there is any: the way round it."""
    ordered = set(order_of(nodes))
    left = {nodes[p].name: p for p in range(len(nodes)) if p not in ordered}
    if not left:
        return
    way = [next(iter(left))]
    while True:
        following = next(need for need in nodes[left[way[-1]]].needs if need in left)
        if following in way:
            circle = [*way[way.index(following) :], following]
            at = ("steps", left[following], "prompt")
            yield Fault(at, f"steps need one another in a circle: {' → '.join(circle)}")
            return
        way.append(following)


def _too_deep(nodes: Sequence[Node]) -> Iterator[Fault]:
    longest = max(chains_of(nodes).values(), default=0)
    if longest > MAX_CHAIN:
        what = f"{longest} steps stand behind one another"
        yield Fault(("steps",), what, f"at most {MAX_CHAIN} may")
