"""How a task is asked for, in the words that users have for it."""

from __future__ import annotations

import random
import re

from hive_expert.training.generated import Messages
from text_to_typescript.task import Split, Task, sentence, third_person

SYSTEM = "Dialect: typescript"
WITHOUT_SYSTEM = 0.08
"""Share of requests that say TypeScript in the user message, and no system message."""
MORE_FREELY = 0.45
"""Share of training's requests for functions that are put loosely."""
SIGNATURE = re.compile(
    r"function (?P<name>\w+)\((?P<parameters>\w+: [^()<>]+)\): (?P<result>[^()<>]+)"
)
"""One that can be told in words: no type parameters, no functions, neither `async` nor `export`."""


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
    if split != "test" and rng.random() < MORE_FREELY:
        return _more_freely(task, rng)
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


def _more_freely(task: Task, rng: random.Random) -> str:
    """In the loose words of somebody who writes in a hurry, or tells the signature in words."""
    does, wanted, shows = task.does, task.wanted, third_person(task.does)
    short = wanted.removeprefix("function ")
    told = SIGNATURE.fullmatch(wanted)
    ways = [
        f"{wanted}\n{does}",
        f"{wanted} - {does}",
        f"{does}\n{wanted}",
        f"`{short}` should {does}.",
        f"can you write `{short}`? it should {does}",
        f"{sentence(does)} This is the signature: {wanted}",
        f"How do I {does}? Please write {wanted}",
        f"Help me with {short}, which {shows}.",
        f"{wanted}\n\n{sentence(f'it {shows}')}",
        f"Body for {short}: it {shows}",
        f"We need something that {shows}. It goes like this: {wanted}",
        f"Please {does}. {wanted}",
    ]
    if told:
        takes = told["parameters"].replace(", ", " and ")
        ways += [
            f"Write a function called {told['name']}. It takes {takes}, returns {told['result']} "
            f"and {shows}.",
            f"A function {told['name']} that takes {takes} and returns {told['result']}. "
            f"It {shows}.",
            f"{sentence(does)} Call it {told['name']}; it gets {takes} and returns "
            f"{told['result']}.",
        ]
    return rng.choice(ways)


def _of_thing(task: Task, rng: random.Random, split: Split) -> str:
    does = task.does
    if split == "test" and rng.random() < 0.4:
        return rng.choice([f"What would {does} look like?", f"Please give me {does}."])
    return rng.choice([
        f"Define {does}.", f"Define {does}.", f"Write {does}.", f"Write {does} in TypeScript.",
        f"Create {does}.", f"I need {does}.", sentence(does), f"Declare {does}.",
    ])  # fmt: skip
