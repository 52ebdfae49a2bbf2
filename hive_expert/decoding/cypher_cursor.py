"""A place in the tokens of a Cypher query, and what can be taken from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hive_expert.decoding.cypher_tokens import Token
from hive_expert.errors import DecodingError


class Cursor:
    """Moves forward over tokens, of which the last is the end."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def fail(self, wanted: str) -> DecodingError:
        found = self.token.text or "the end"
        return DecodingError(f"character {self.token.at + 1}: {found!r} where {wanted} should be")

    def is_word(self, *words: str, ahead: int = 0) -> bool:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)].word in words

    def is_sign(self, sign: str, ahead: int = 0) -> bool:
        token = self.tokens[min(self.at + ahead, len(self.tokens) - 1)]
        return token.kind == "sign" and token.text == sign

    def take_word(self, *words: str) -> bool:
        """Take these words if they come next, in this order."""
        if not all(self.is_word(word, ahead=i) for i, word in enumerate(words)):
            return False
        self.at += len(words)
        return True

    def take(self, sign: str) -> bool:
        found = self.is_sign(sign)
        self.at += found
        return found

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            raise self.fail(repr(sign))

    def name(self, what: str) -> str:
        if self.token.kind not in ("name", "quoted"):
            raise self.fail(what)
        self.at += 1
        return self.tokens[self.at - 1].text

    def several(self, one: Callable[[], Any]) -> tuple[Any, ...]:
        found = [one()]
        while self.take(","):
            found.append(one())
        return tuple(found)
