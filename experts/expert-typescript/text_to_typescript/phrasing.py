"""How a task is asked for, in the words that users have for it."""

from __future__ import annotations

import random

from hive_expert.training.generated import Messages
from text_to_typescript.task import Split, Task, sentence, third_person

SYSTEM = "Dialect: typescript"
WITHOUT_SYSTEM = 0.08
"""Share of requests that say TypeScript in the user message, and no system message."""


def messages(task: Task, rng: random.Random, split: Split) -> Messages:
    """The task as a request."""
    asked = _of_thing(task, rng, split) if task.is_thing else _of_function(task, rng, split)
    if task.given:
        asked = f"{asked}\n\n{task.given}" if rng.random() < 0.4 else f"{task.given}\n\n{asked}"
    if rng.random() >= WITHOUT_SYSTEM:
        return Messages(SYSTEM, asked)
    said = rng.choice(("Answer in TypeScript. ", "TypeScript: ", "In TypeScript: "))
    return Messages("", f"{said}{asked}")


def _of_function(task: Task, rng: random.Random, split: Split) -> str:
    does, wanted, shows = task.does, task.wanted, third_person(task.does)
    if split == "test" and rng.random() < 0.4:
        return rng.choice([
            f"Please implement this function, which {shows}:\n{wanted}",
            f"{wanted}\nThe function {shows}.",
            f"Fill in the body so that it {shows}: {wanted}",
        ])  # fmt: skip
    short = wanted.removeprefix("function ")
    return rng.choice([
        f"Write a function that {shows}.\n{wanted}",
        f"Write a function that {shows}.\n{wanted}",
        f"Write a TypeScript function that {shows}: {wanted}",
        f"{wanted}\n{sentence(does)}",
        f"{sentence(does)}\n{wanted}",
        f"Implement `{short}`. It {shows}.",
        f"// {sentence(does)}\n{wanted}",
        f"Complete this function. It {shows}.\n{wanted}",
        f"I need a function that {shows}. Signature: {wanted}",
        f"Write `{short}`, which {shows}.",
        f"Create a function `{short}` that {shows}.",
    ])  # fmt: skip


def _of_thing(task: Task, rng: random.Random, split: Split) -> str:
    does = task.does
    if split == "test" and rng.random() < 0.4:
        return rng.choice([f"What would {does} look like?", f"Please give me {does}."])
    return rng.choice([
        f"Define {does}.", f"Define {does}.", f"Write {does}.", f"Write {does} in TypeScript.",
        f"Create {does}.", f"I need {does}.", sentence(does), f"Declare {does}.",
    ])  # fmt: skip
