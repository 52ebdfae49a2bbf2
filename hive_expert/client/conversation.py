"""From what a user says to the messages and the `model` of a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hive_expert.errors import Problem, UsageError

AUTO = "auto"
BASE = ""
"""No model named: the base model answers."""

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decoding values that the user chose; the others stay the expert's own."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def as_fields(self) -> dict[str, Any]:
        """The fields of a request for what was chosen."""
        chosen = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "stop": list(self.stop) or None,
        }
        return {name: value for name, value in chosen.items() if value is not None}


def model_of(experts: Sequence[str] | None) -> str:
    """The `model` for these experts: None lets the router choose, none at all is the base.

    Raises:
        UsageError: a single text instead of a list, or an empty name.
    """
    if experts is None:
        return AUTO
    if isinstance(experts, str):
        raise UsageError(Problem("experts", "is a text", f"give a list: [{experts!r}]"))
    if not all(experts):
        raise UsageError(Problem("experts", "has an empty name"))
    return "+".join(experts)


def messages_of(
    prompt: str, *, body: str = "", system: str = "", history: Sequence[Message] = ()
) -> list[Message]:
    """A request's messages: the system message, what was said before, then prompt and body.

    `body` is what the prompt is about (a text, a schema, code); it follows after a blank line.

    Raises:
        UsageError: neither prompt nor body says anything.
    """
    asked = "\n\n".join(part for part in (prompt, body) if part)
    if not asked:
        raise UsageError(Problem("prompt", "nothing is asked", "give a prompt or a body"))
    before = [{"role": "system", "content": system}] if system else []
    return [*before, *history, {"role": "user", "content": asked}]


def bare_name(name: str) -> str:
    """An expert's name without version, digest or weight."""
    for separator in ":@#":
        name = name.partition(separator)[0]
    return name
