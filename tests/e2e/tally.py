"""What counted runs have found out so far, in a file, so that a long run can go on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

Outcome: TypeAlias = Mapping[str, Any]
PROBLEM = "problem"
"""Key of an outcome that should not be: what is wrong with it."""


@dataclass
class Tally:
    """Outcomes by part of the run and case, and what became of the neighbours.

    Laws: a case that is noted is never asked again, whatever came of it; what `begin` reads is what
    `write` wrote.
    """

    path: Path | None = None
    cases: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    neighbours: dict[str, int] = field(default_factory=lambda: {"answers": 0, "changed": 0})
    changed: list[str] = field(default_factory=list)
    """What changed neighbours were told."""

    @classmethod
    def begin(cls, path: Path | None = None) -> Tally:
        """The run that this file holds, or a new one."""
        if path is None or not path.exists():
            return cls(path)
        known = json.loads(path.read_text())
        return cls(path, known["cases"], known["figures"]["neighbours"], known["changed"])

    def has(self, part: str, case: str) -> bool:
        return case in self.cases.get(part, {})

    def note(self, part: str, case: str, outcome: Outcome) -> None:
        self.cases.setdefault(part, {})[case] = outcome

    def of(self, part: str) -> list[Outcome]:
        """In the order in which they were noted."""
        return list(self.cases.get(part, {}).values())

    def note_neighbours(self, answered: int, changed: list[str]) -> None:
        self.neighbours = {
            "answers": self.neighbours["answers"] + answered,
            "changed": self.neighbours["changed"] + len(changed),
        }
        self.changed += changed

    def wrong(self) -> Iterator[str]:
        """A line for whatever should not be."""
        for part, cases in self.cases.items():
            for case, outcome in cases.items():
                if PROBLEM in outcome:
                    yield f"{part}: {case}: {outcome[PROBLEM]}"
        yield from self.changed

    def write(self, figures: Mapping[str, Any]) -> None:
        """Keep all of it beside the figures that it comes to, if there is a file."""
        if self.path is None:
            return
        told = {"figures": {**figures, "neighbours": self.neighbours}, "changed": self.changed}
        head = json.dumps(told, indent=2).removesuffix("\n}")
        parts = ",\n".join(
            f"    {json.dumps(part)}: {{\n{_lines(self.cases[part])}\n    }}" for part in self.cases
        )
        text = f'{head},\n  "cases": {{\n{parts}\n  }}\n}}\n'
        beside = self.path.with_suffix(".part")
        beside.write_text(text)
        beside.replace(self.path)


def _lines(cases: Mapping[str, Outcome]) -> str:
    """A line each, so that a run of a thousand cases can be read."""
    return ",\n".join(f"      {json.dumps(c)}: {json.dumps(cases[c])}" for c in cases)
