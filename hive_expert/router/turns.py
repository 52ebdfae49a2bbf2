"""The part of a conversation that routing reads: text by role, cut to a bounded length."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]

HEAD, TAIL = 1200, 800
"""Characters read at the start and at the end of one message: people say what they want at one
end of a long text, and routing must take no longer for 100 KB than for a page."""

MAX_USER_TURNS = 4
"""User turns looked at, the last included."""

LONG_LINE, OPENING = 400, 100
"""Characters from which a line is data, and how many of its opening are read nevertheless."""

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
# What a request is about, rather than the request: quoted text, code, JSON, long number lists.
_DATA = re.compile(
    r'```.*?(?:```|\Z)|"[^"\n]{12,}"|“[^”\n]{12,}”|«[^»\n]{12,}»|\{[^{}]*\}', re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """One user message as routing reads it.

    Laws: `text` and `system` have at most HEAD + TAIL + 1 characters; `instruction` is `text`
    without the data it carries, or all of it where nothing else would be left.
    """

    text: str
    instruction: str
    system: str
    parts: tuple[Request, Request] | None = None
    """What it continues and what it adds, where it was put together from two messages."""

    @property
    def demand(self) -> str:
        """The instruction up to a colon that text follows: what comes after may be data too."""
        head, _, rest = self.instruction.partition(": ")
        return head if len(head.split()) > 2 and len(rest.split()) > 2 else self.instruction

    @property
    def is_empty(self) -> bool:
        """Nothing is asked: there is no letter and no digit."""
        return not any(c.isalnum() for c in self.text)


def turns_of(messages: Iterable[Mapping[str, Any]]) -> tuple[Turn, ...]:
    """Turns from messages in OpenAI's form; text parts are joined, everything else is left out."""
    turns = []
    for message in messages:
        role = _ROLES.get(str(message.get("role")))
        if role is not None:
            turns.append(Turn(role, _text(message.get("content"))))
    return tuple(turns)


def requests_of(turns: Iterable[Turn]) -> tuple[Request, ...]:
    """The last user messages, oldest first, each with all system messages."""
    turns = tuple(turns)
    system = bounded("\n".join(turn.text for turn in turns if turn.role == "system"))
    users = [turn.text for turn in turns if turn.role == "user"][-MAX_USER_TURNS:]
    return tuple(request_of(text, system) for text in users)


def request_of(text: str, system: str = "") -> Request:
    text = bounded(text)
    return Request(text, instruction_of(text), bounded(system))


def continued(before: Request, request: Request) -> Request:
    """A message that adds to the one before, read together with it."""
    whole = request_of(f"{before.text}\n{request.text}", request.system)
    return replace(whole, parts=(before, request))


def instruction_of(text: str) -> str:
    """What is asked, without the data that it is asked of."""
    instruction = _DATA.sub(" ", text)
    if len(instruction) > LONG_LINE:
        instruction = _without_long_lines(instruction)
    return instruction if any(c.isalpha() for c in instruction) else text


def _without_long_lines(text: str) -> str:
    """Nobody writes a request of LONG_LINE characters in one line, but it may open a long one."""
    first, *others = text.split("\n")
    kept = [first[:OPENING] if len(first) > LONG_LINE else first]
    kept += [line for line in others if len(line) <= LONG_LINE]
    return "\n".join(kept)


def bounded(text: str) -> str:
    """The start and the end of a long text."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, Mapping))
    return "\n".join(part for part in parts if isinstance(part, str))
