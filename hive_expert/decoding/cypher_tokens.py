"""The words and signs of a Cypher text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hive_expert.errors import DecodingError

MAX_TOKENS = 20_000

Kind = Literal["name", "quoted", "string", "number", "parameter", "sign", "end"]

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)
  | (?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
  | (?P<quoted>`(?:[^`]|``)+`)
  | (?P<number>\d+\.\d+(?:[eE][+-]?\d+)?|\d+(?:[eE][+-]?\d+)?|\.\d+)
  | (?P<parameter>\$\w+)
  | (?P<name>[^\W\d]\w*)
  | (?P<sign><>|<=|>=|=~|\.\.|\+=|[-+*/%^=<>()\[\]{},.:;|&!])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Token:
    """One word or sign. ``text`` of a string or a quoted name is what it means."""

    kind: Kind
    text: str
    at: int

    @property
    def word(self) -> str:
        """The keyword that it may be; empty for what cannot be one."""
        return self.text.upper() if self.kind == "name" else ""


def tokenize(text: str) -> Sequence[Token]:
    """The tokens, an ``end`` behind the last. Raises DecodingError at a sign Cypher has not."""
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise DecodingError(f"character {at + 1}: {text[at]!r} is not Cypher")
        kind, raw = str(match.lastgroup), match[0]
        if kind != "space":
            tokens.append(Token(kind, _meaning(kind, raw), at))  # type: ignore[arg-type]  # its own groups
        if len(tokens) > MAX_TOKENS:
            raise DecodingError(f"more than {MAX_TOKENS} tokens")
        at = match.end()
    return [*tokens, Token("end", "", len(text))]


def _meaning(kind: str, raw: str) -> str:
    if kind == "quoted":
        return raw[1:-1].replace("``", "`")
    if kind != "string":
        return raw
    body = raw[1:-1].replace(raw[0] * 2, raw[0])
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), body, flags=re.DOTALL)
