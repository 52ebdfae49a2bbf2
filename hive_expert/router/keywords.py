"""All experts' keywords in one automaton, read in one pass over a request's words.

The automaton is a trie over words: whole words and phrases match by construction, whatever
stands between the words, and a pass costs one look-up per word, however many experts there are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# Chinese, Japanese and Korean stand beside Latin words without a space: "用TypeScript写".
# A name that ends in + or # is a word of its own: c++, c#.
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]+|(?:(?![{_CJK}])[^\W_])+[+#]*")


def words_of(text: str) -> list[str]:
    """Words as keywords are compared: without case, compatibility forms unified."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _WORD.findall(text.casefold())


@dataclass(slots=True)
class _Node:
    following: dict[str, _Node] = field(default_factory=dict)
    phrase: str = ""
    owners: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Match:
    """A phrase that was found, and the positions of the experts that listed it."""

    phrase: str
    length: int
    """Words in it."""
    owners: Sequence[int]


class Automaton:
    """Phrases of many owners.

    Law: the matches of a text are those phrases whose words stand in it in a row; each phrase is
    reported once, in the order of first appearance.
    """

    def __init__(self, phrases: Iterable[tuple[str, int]]) -> None:
        self._root = _Node()
        for phrase, owner in phrases:
            self._add(words_of(phrase), owner)

    def _add(self, words: Sequence[str], owner: int) -> None:
        if not words:
            return
        node = self._root
        for word in words:
            node = node.following.setdefault(word, _Node())
        node.phrase = " ".join(words)
        if owner not in node.owners:
            node.owners.append(owner)

    def find(self, words: Sequence[str]) -> list[Match]:
        found: dict[str, Match] = {}
        starts = self._root.following
        for position, word in enumerate(words):
            node = starts.get(word)
            length = 1
            while node is not None:
                if node.owners and node.phrase not in found:
                    found[node.phrase] = Match(node.phrase, length, node.owners)
                end = position + length
                node = node.following.get(words[end]) if end < len(words) else None
                length += 1
        return list(found.values())
