"""The kinds of objects that requests are about, read from ``data/entities-*.txt``."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from text_to_typescript import resources
from text_to_typescript.task import Split


@dataclass(frozen=True, slots=True)
class Entity:
    """A kind of object: `Book`, `books`, and its properties with their types."""

    name: str
    plural: str
    properties: tuple[tuple[str, str], ...]

    @property
    def singular(self) -> str:
        return self.name[0].lower() + self.name[1:]

    def of_type(self, kind: str) -> list[str]:
        """Names of the properties of a type."""
        return [name for name, its in self.properties if its == kind]

    @property
    def interface(self) -> str:
        """Its declaration."""
        body = "".join(f"  {name}: {kind};\n" for name, kind in self.properties)
        return f"interface {self.name} {{\n{body}}}"


@cache
def entities(split: Split) -> tuple[Entity, ...]:
    """The entities of a split. None is in two splits."""
    found = []
    for line in resources.text(f"entities-{split}.txt").splitlines():
        if line and not line.startswith("#"):
            head, _, told = line.partition(": ")
            name, plural = head.split()
            pairs = [p.strip().split(" ") for p in told.split(",")]
            found.append(Entity(name, plural, tuple((n, k) for n, k in pairs)))
    return tuple(found)


def reduced(entity: Entity, rng: random.Random) -> Entity:
    """The entity with three to all of its properties, in their order."""
    count = rng.randint(3, len(entity.properties))
    kept = set(rng.sample(range(len(entity.properties)), count))
    return Entity(
        entity.name, entity.plural, tuple(p for i, p in enumerate(entity.properties) if i in kept)
    )
