"""The messages of a request as text, and the schema that they carry.

SPEC section 12 says how experts are spoken to: `Dialect: …`, then `Schema:` and what follows it,
in the system message, or all of it in one message (`Find … Schema: users(id, name)`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

MAX_CHARACTERS = 128 * 1024
"""Of all messages together that are searched for a schema; one too many carries none for us."""
MAX_SCHEMAS = 8
"""Places of one request that are looked at: each is read to the end of its message."""

_SCHEMA = re.compile(r"\bSchema:[ \t]*\n?", re.IGNORECASE)
_DIALECT = re.compile(r"^[ \t]*Dialect:[ \t]*(\w{1,32})[ \t]*$", re.IGNORECASE | re.MULTILINE)

_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})


@dataclass(frozen=True, slots=True)
class Message:
    """One message, its parts of text joined; other parts (images) are left out."""

    role: str
    text: str


def messages_of(body: Mapping[str, Any]) -> tuple[Message, ...]:
    """The messages of a chat request's body, of a responses request's (`instructions`, then
    `input`), or of a completion's `prompt`; empty where there are none, or several prompts.
    """
    if "messages" in body:
        return tuple(_of_items(body["messages"]))
    if "prompt" in body:
        return _of_prompt(body["prompt"])
    instructions, asked = body.get("instructions"), body.get("input")
    head = (Message("system", instructions),) if isinstance(instructions, str) else ()
    if isinstance(asked, str):
        return (*head, Message("user", asked))
    # Beside messages there may be calls of tools and their results.
    return (*head, *(m for m in _of_items(asked) if m.role))


def _of_prompt(prompt: Any) -> tuple[Message, ...]:
    """What a prompt was rendered from, if that was ChatML; otherwise the user's words as a whole.

    Token ids, and several prompts in one request, say nothing of one conversation.
    """
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        return ()
    turns = (part.partition("\n") for part in prompt.split("<|im_start|>")[1:])
    rendered = tuple(
        Message(role.strip(), text.partition("<|im_end|>")[0]) for role, _, text in turns
    )
    return rendered or (Message("user", prompt),)


def _of_items(items: Any) -> Iterator[Message]:
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            yield Message(str(item.get("role", "")), _text(item.get("content")))


def schema_texts(messages: Sequence[Message]) -> Iterator[str]:
    """What follows `Schema:`, the likeliest place first: system messages, then the last of the
    user's. A request that repeats the word has several, of which the first ``MAX_SCHEMAS`` count.
    """
    return islice(_schema_texts(messages), MAX_SCHEMAS)


def _schema_texts(messages: Sequence[Message]) -> Iterator[str]:
    system = [m for m in messages if m.role in ("system", "developer")]
    user = [m for m in messages if m.role == "user"][-1:]
    left = MAX_CHARACTERS
    for message in (*system, *user):
        if len(message.text) <= left:
            left -= len(message.text)
            for found in _SCHEMA.finditer(message.text):
                yield message.text[found.end() :]


def said_beside(messages: Sequence[Message], schema: str) -> Iterator[str]:
    """What an answer under this schema may have to repeat: the messages without the schema and the
    words that announce it, and without earlier answers.
    """
    for message in messages:
        if message.role != "assistant":
            text = message.text.replace(schema, " ")
            yield _DIALECT.sub("", _SCHEMA.sub("", text)).strip()


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
    parts = (p for p in content if isinstance(p, dict) and p.get("type") in _TEXT_PARTS)
    return "\n".join(text for part in parts if isinstance(text := part.get("text"), str))
