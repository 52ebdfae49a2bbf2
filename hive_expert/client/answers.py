"""What comes back from a server: an answer, and what its headers say of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

PLACES = {
    "experts": "x-hive-experts",
    "route": "x-hive-route",
    "residency": "x-hive-residency",
    "validation": "x-hive-validation",
    "grammar": "x-hive-grammar",
}
"""The headers that tell of an answer."""

_UNBOUND = re.compile(r"(?:manifest|none) \(prompt: (.*)\)")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the server counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """Who answered, and why. `experts` is empty where the base model did."""

    experts: tuple[str, ...] = ()
    """`NAME@VERSION`, with `:WEIGHT` in a composition."""
    route: str | None = None
    """For `auto`: score and reasons."""
    residency: str | None = None
    """`hit`, or where the weights had to be loaded from."""
    validation: str | None = None
    """Whether the answer passed its expert's own check, if it has one."""
    grammar: str | None = None
    """What constrained an expert's answer: `prompt: …`, `manifest`, `none`, the request's own."""

    @property
    def unbound(self) -> str | None:
        """Why the prompt gave the answer no structure, where its expert takes it from there."""
        found = _UNBOUND.fullmatch(self.grammar or "")
        return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a model."""

    output: str
    origin: Origin
    latency_ms: float
    """From the request to the last token, as this process saw it."""
    usage: Usage
    finish_reason: str = "stop"

    @property
    def experts_used(self) -> tuple[str, ...]:
        """Names of the experts that answered; empty for the base model."""
        return tuple(name.partition("@")[0] for name in self.origin.experts)

    @property
    def route(self) -> str | None:
        return self.origin.route


@dataclass(frozen=True, slots=True)
class ChainAnswer:
    """The answers of a chain, in order.

    Laws: `output` is the last answer's; latencies and usage add up.
    """

    answers: tuple[Answer, ...] = field(default=())

    @property
    def output(self) -> str:
        return self.answers[-1].output

    @property
    def experts_used(self) -> tuple[str, ...]:
        """Each expert once, in the order of first use."""
        return tuple(dict.fromkeys(name for a in self.answers for name in a.experts_used))

    @property
    def latency_ms(self) -> float:
        return sum(answer.latency_ms for answer in self.answers)

    @property
    def usage(self) -> Usage:
        return total(answer.usage for answer in self.answers)


def total(usages: Iterable[Usage]) -> Usage:
    return sum(usages, Usage())


def origin_of(headers: Mapping[str, str]) -> Origin:
    """What an answer's headers say."""
    experts = headers.get(PLACES["experts"], "")
    return Origin(
        experts=tuple(part for name in experts.split(",") if (part := name.strip())),
        route=headers.get(PLACES["route"]),
        residency=headers.get(PLACES["residency"]),
        validation=headers.get(PLACES["validation"]),
        grammar=headers.get(PLACES["grammar"]),
    )
