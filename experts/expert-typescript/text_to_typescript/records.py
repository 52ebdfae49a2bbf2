"""Tasks about objects and arrays of objects whose type the request shows."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from text_to_typescript import record_choices as choices
from text_to_typescript import record_results as results
from text_to_typescript.entities import entities, reduced
from text_to_typescript.pipelines import literal
from text_to_typescript.record_parts import Draw, Parts
from text_to_typescript.task import Split, Task, function

OPERATIONS: tuple[Callable[[Draw], Parts | None], ...] = (
    results.pluck, choices.flagged, choices.compared, choices.at_least, choices.equal,
    choices.find, results.total, results.average, results.count, choices.any_all,
    results.names_of_flagged, results.total_of_flagged, choices.sort, choices.sort_text,
    choices.best,
    results.group, results.tally, results.join, choices.including, results.switched,
    results.raised, results.describe,
)  # fmt: skip


def task(rng: random.Random, split: Split) -> Task:
    """A task about objects of the split."""
    while True:
        draw = Draw(rng, reduced(rng.choice(entities(split)), rng))
        parts = rng.choice(OPERATIONS)(draw)
        if parts is not None:
            return _task(draw, parts, split)


def _task(draw: Draw, parts: Parts, split: Split) -> Task:
    entity, rng = draw.entity, draw.rng
    name = rng.choice(parts.names)
    ways = parts.does
    does = ways[-1] if split == "test" else rng.choice(ways[:-1] if len(ways) > 2 else ways)
    first = (
        f"{entity.singular}: {entity.name}" if parts.is_single else f"{draw.list}: {entity.name}[]"
    )
    second = f", {parts.extra[0]}" if parts.extra else ""
    signature = f"({first}{second}): {parts.result}"
    tests = []
    for rows in draw.samples():
        subjects: Sequence[Any] = rows[:2] if parts.is_single else [rows]
        for subject in subjects:
            given = literal(subject) + (f", {literal(parts.extra[1])}" if parts.extra else "")
            tests.append(f"expectEqual({name}({given}), {literal(parts.compute(subject))});")
    code = function(name, signature, parts.body)
    wanted = f"function {name}{signature}"
    return Task(f"record/{parts.id}", does, code, "\n".join(tests), wanted, entity.interface)
