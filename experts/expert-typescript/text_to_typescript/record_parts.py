"""What operations on objects are made with, and of."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from text_to_typescript.entities import Entity

TEXTS = "Ada Ben Cleo Dora Eli Fay Gus Hal Ida Jon Kim Leo".split()  # noqa: SIM905  # legible


@dataclass
class Draw:
    """Names, a threshold and sample objects for one task about an entity."""

    rng: random.Random
    entity: Entity

    def __post_init__(self) -> None:
        singular, plural = self.entity.singular, self.entity.plural
        self.list = self.rng.choice((plural, plural, plural, "items", "list"))
        self.v = self.rng.choice((singular, singular[0], "item"))
        self.k = self.rng.randint(2, 40)

    def property(self, kind: str) -> str | None:
        """The name of some property of a type, if there is one."""
        names = self.entity.of_type(kind)
        return self.rng.choice(names) if names else None

    def samples(self) -> list[list[dict[str, Any]]]:
        """Arrays of objects to test with; the last is empty."""
        rows = [self._row() for _ in range(self.rng.randint(3, 4))]
        return [rows, []]

    def _row(self) -> dict[str, Any]:
        make: dict[str, Callable[[], Any]] = {
            "string": lambda: self.rng.choice(TEXTS),
            "number": lambda: self.k + self.rng.randint(-3, 3),
            "boolean": lambda: self.rng.random() < 0.5,
            "string[]": lambda: self.rng.sample(TEXTS, self.rng.randint(0, 2)),
        }
        return {name: make[kind]() for name, kind in self.entity.properties}


@dataclass(frozen=True, slots=True)
class Parts:
    """An operation: what it is called and told, its code, and the same computed in Python.

    `extra` is a second parameter with the value that tests give for it; `is_single` is for one
    object rather than an array.
    """

    id: str
    names: tuple[str, ...]
    does: tuple[str, ...]
    result: str
    body: tuple[str, ...]
    compute: Callable[[list[dict[str, Any]]], Any]
    extra: tuple[str, Any] | None = None
    is_single: bool = False


def cap(name: str) -> str:
    """With a capital."""
    return name[0].upper() + name[1:]
