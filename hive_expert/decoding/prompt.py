"""The messages of a request as text, and the schema that they carry.

SPEC section 12 says how experts are spoken to: `Dialect: …`, then `Schema:` and what follows it,
in the system message, or all of it in one message (`Find … Schema: users(id, name)`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_CHARACTERS = 128 * 1024
"""Of a message that is searched for a schema; a longer one carries none for us."""

_SCHEMA = re.compile(r"\bSchema:[ \t]*\n?", re.IGNORECASE)
_DIALECT = re.compile(r"^[ \t]*Dialect:[ \t]*(\w{1,32})[ \t]*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Message:
    """One message, its parts of text joined; other parts (images) are left out."""

    role: str
    text: str


def messages_of(body: Mapping[str, Any]) -> tuple[Message, ...]:
    """The messages of a chat request's body; empty for requests of another kind."""
    found = body.get("messages")
    if not isinstance(found, list):
        return ()
    return tuple(
        Message(str(message.get("role", "")), _text(message.get("content")))
        for message in found
        if isinstance(message, dict)
    )


def schema_texts(messages: Sequence[Message]) -> Iterator[str]:
    """What follows `Schema:`, the likeliest place first: system messages, then the last of the
    user's. A request that repeats the word has several.
    """
    system = [m for m in messages if m.role in ("system", "developer")]
    user = [m for m in messages if m.role == "user"][-1:]
    for message in (*system, *user):
        if len(message.text) <= MAX_CHARACTERS:
            for found in _SCHEMA.finditer(message.text):
                yield message.text[found.end() :]


def dialect_of(messages: Sequence[Message]) -> str | None:
    """The name after `Dialect:`, in lower case."""
    for message in messages:
        if message.role in ("system", "developer", "user") and len(message.text) <= MAX_CHARACTERS:
            found = _DIALECT.search(message.text)
            if found:
                return found[1].lower()
    return None


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part for part in content if isinstance(part, dict) and part.get("type") == "text")
    return "\n".join(text for part in parts if isinstance(text := part.get("text"), str))
