"""How long an answer's values may become where its schema does not say. SPEC section 7.

A small model can write a number, a text or a list for ever; the answer is then cut off by its limit
of tokens, and no JSON. So what the schema leaves open is bounded, by what the messages say: an
answer that repeats a part of them must stay possible.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

TEXT_LENGTHS = (64, 128, 256)
"""Bounds of a text, in characters. Few, since a compiler has to see each once."""
LONGEST_TEXTS = (256, 512)
"""What a `maxLength` above it counts as, in characters."""
ITEM_COUNTS = (16, 32, 64, 128, 256, 512, 1024)
INTEGER_DIGITS = 18
"""More do not fit into 64 bits."""
NUMBER_DIGITS = 15
"""Before the point: what a double tells apart. Behind it the compiler allows 6."""

_UNWRITABLE = re.compile(r'["\\\x00-\x1f]')
_QUOTED = re.compile(r'([^"]*:\s*)"([^"]*)"')
_LONG_INTEGER = re.compile(rf"[0-9]{{{INTEGER_DIGITS + 1}}}")
_LONG_NUMBER = re.compile(rf"[0-9]{{{NUMBER_DIGITS + 1}}}|\.[0-9]{{7}}|[0-9][eE][-+]?[0-9]")
_LONG_NAME = re.compile(r"[^\s@]{33}")
_WORD = re.compile(r"[A-Za-z0-9]+|[^\x00-\x7f]")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What holds where a schema is silent; None and False: nothing does.

    Law: what stands in the texts that `bounds_of` was given can be written within them, each text
    as a whole and each of its words as an item, a number or a name.
    """

    characters: int | None = None
    """Of a text without `maxLength`."""
    items: int | None = None
    """Of an array without `maxItems`, or an object of any properties."""
    integers: bool = False
    """Whether integers have at most `INTEGER_DIGITS` digits."""
    numbers: bool = False
    """Whether numbers have at most `NUMBER_DIGITS` digits, 6 behind the point, and no exponent."""
    longest_text: int = LONGEST_TEXTS[-1]
    """What a greater `maxLength` counts as: to compile a text takes a state for each character."""
    names: bool = False
    """Whether e-mail addresses and host names have parts of at most 32 letters and digits."""

    @property
    def none(self) -> bool:
        """Whether nothing holds where a schema is silent."""
        kinds = (self.integers, self.numbers, self.names)
        return self.characters is None and self.items is None and not any(kinds)


UNBOUNDED = Bounds()


def bounds_of(said: Iterable[str]) -> Bounds:
    """What holds for an answer to messages that say this beside their schema.

    A text is not bounded where they hold quotes, backslashes or line breaks, which a bounded one
    cannot have, or are longer than the greatest bound.
    """
    texts = [_unquoted(text.strip()) for text in said]
    longest = max(map(len, texts), default=0)
    words = max((len(_WORD.findall(text)) for text in texts), default=0)

    def none_has(pattern: re.Pattern[str]) -> bool:
        return not any(map(pattern.search, texts))

    return Bounds(
        characters=_least(TEXT_LENGTHS, longest) if none_has(_UNWRITABLE) else None,
        items=_least(ITEM_COUNTS, words),
        integers=none_has(_LONG_INTEGER),
        numbers=none_has(_LONG_NUMBER),
        longest_text=_least(LONGEST_TEXTS, longest) or LONGEST_TEXTS[-1],
        names=none_has(_LONG_NAME),
    )


def _unquoted(text: str) -> str:
    """Without the quotes around what a message quotes as a whole: `Extract JSON from: "…"`."""
    found = _QUOTED.fullmatch(text)
    return text if found is None else f"{found[1]}{found[2]}"


def _least(steps: Iterable[int], wanted: int) -> int | None:
    """The first step that suffices; None if none does."""
    return next((step for step in steps if step >= wanted), None)
