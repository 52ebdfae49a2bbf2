"""The sampling fields of the decoding contract, their ranges, and the limits of stops.

SPEC sections 3 and 7. Ranges are checked wherever values come in: manifests when an expert is
loaded, flags when the server starts; requests are vLLM's to check.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from hive_expert.errors import Problem, UsageError

Number: TypeAlias = int | float

MAX_STOPS = 64
MAX_STOP_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Field:
    """One sampling field and the values it may take, as vLLM understands them."""

    name: str
    whole: bool
    """Whether only integers are meant."""
    low: Number
    high: Number
    above_low: bool = False
    """Whether ``low`` itself is excluded."""

    @property
    def range(self) -> str:
        """The range in words."""
        kind = "an integer" if self.whole else "a number"
        lowest = f"above {self.low}" if self.above_low else f"from {self.low}"
        return f"{kind} {lowest} to {self.high}"

    def accepts(self, value: object) -> bool:
        """Whether ``value`` is of the right kind and in range; booleans are not numbers here."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        in_range = self.low <= value <= self.high and not (self.above_low and value == self.low)
        return in_range and math.isfinite(value)


_INT32_MAX = 2**31 - 1

FIELDS: tuple[Field, ...] = (
    Field("temperature", whole=False, low=0, high=2),
    Field("top_p", whole=False, low=0, high=1, above_low=True),
    Field("top_k", whole=True, low=-1, high=_INT32_MAX),
    Field("min_p", whole=False, low=0, high=1),
    Field("repetition_penalty", whole=False, low=0, high=1_000_000, above_low=True),
    Field("max_tokens", whole=True, low=1, high=_INT32_MAX),
)
"""The sampling fields of the contract, in the order they are shown."""


def check_flags(flags: Mapping[str, Number | None]) -> dict[str, Number]:
    """The server's sampling flags by field name, those not given left out.

    Raises:
        UsageError: naming every flag that is unknown or out of range.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    known = {f.name: f for f in FIELDS}
    problems = [
        Problem(_flag(name), "not a sampling flag")
        if name not in known
        else Problem(_flag(name), f"{value} is out of range", f"give {known[name].range}")
        for name, value in given.items()
        if name not in known or not known[name].accepts(value)
    ]
    if problems:
        raise UsageError(*problems)
    return given


def range_problems(values: Mapping[str, object], section: str) -> Iterator[Problem]:
    """What is out of range among the values, by field name; None is silence."""
    for known in FIELDS:
        value = values[known.name]
        if value is not None and not known.accepts(value):
            where = f"{section}.{known.name}" if section else known.name
            yield Problem(where, f"{value!r} is out of range", f"give {known.range}")


def stop_problems(stops: tuple[str, ...], where: str) -> Iterator[Problem]:
    """Stops beyond the limits. vLLM itself takes any number, and compares each with every token."""
    if len(stops) > MAX_STOPS:
        yield Problem(where, f"{len(stops)} stops", f"at most {MAX_STOPS} are allowed")
    for position, stop in enumerate(stops[:MAX_STOPS]):
        if not 1 <= len(stop) <= MAX_STOP_CHARACTERS:
            yield Problem(
                f"{where}[{position}]",
                f"a stop of {len(stop)} characters",
                f"from 1 to {MAX_STOP_CHARACTERS} are allowed",
            )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
