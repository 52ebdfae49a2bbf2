"""Training and validation rows, from one seed."""

from __future__ import annotations

import random
from collections.abc import Callable

from hive_expert.training.generated import Example, gather, weighted
from text_to_typescript import expressions, functions, phrasing, pipelines, records, shapes
from text_to_typescript.task import Split, Task

SHARES = {"function": 34, "expression": 24, "pipeline": 16, "record": 13, "type": 13}
"""Percentages of the kinds of tasks."""
_FAMILIES = {
    "train": functions.TRAIN, "validation": functions.VALIDATION, "test": functions.TRAIN,
}  # fmt: skip


def draw_task(rng: random.Random, kind: str, split: Split) -> Task:
    """A task of a kind. Functions of the test split are known ones under other words."""
    makers: dict[str, Callable[[random.Random, Split], Task]] = {
        "expression": expressions.task, "pipeline": pipelines.task, "record": records.task,
        "type": shapes.task,
    }  # fmt: skip
    if kind == "function":
        return rng.choice(list(_FAMILIES[split].values())).task(rng, split)
    return makers[kind](rng, split)


def tasks(seed: int, split: Split, number: int) -> list[tuple[Task, Example]]:
    """``number`` different requests with what proves their answers."""
    rng = random.Random(f"{seed}-{split}")
    made: dict[str, Task] = {}

    def one(at: int) -> tuple[str, list[Example]]:
        task = draw_task(rng, weighted(rng, SHARES), split)
        asked = phrasing.messages(task, rng, split)
        made.setdefault(asked.user, task)
        group = "system" if asked.system else "alone"
        row = Example(asked.system, asked.user, task.code, group, task.family)
        return asked.user, [row]

    rows: list[Example] = gather(3 * number, one)[:number]
    return [(made[row.instruction], row) for row in rows]


def train_examples(seed: int, number: int) -> list[Example]:
    """Training rows. A group of rows has one system message, so there are two."""
    return [row for _, row in tasks(seed, "train", number)]


def validation_examples(seed: int, number: int) -> list[Example]:
    """Validation rows: other function families, other entities."""
    return [row for _, row in tasks(seed, "validation", number)]
