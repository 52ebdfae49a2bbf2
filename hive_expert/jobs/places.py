"""Places that agents share, such as those of uploads: no key takes them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Places:
    """Law: if only those take one for whom one is free, no more than `of_all` are taken, and no
    more than `of_one` by the same agent."""

    of_all: int
    of_one: int
    _taken: Counter[str] = field(default_factory=Counter)

    def free(self, agent: str) -> bool:
        """Whether there is one for an agent."""
        return self._taken.total() < self.of_all and self._taken[agent] < self.of_one

    @contextmanager
    def taking(self, agent: str) -> Iterator[None]:
        """Take one, as long as the block runs."""
        self._taken[agent] += 1
        try:
            yield
        finally:
            self._taken[agent] -= 1
            self._taken += Counter()  # agents without one are forgotten
