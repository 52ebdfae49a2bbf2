"""Is a request a question about something, rather than work for an expert? SPEC section 9."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Politeness and small talk before the question itself.
_OPENING = (
    r"(?:[^\w]*(?:so|and|ok|okay|hi|hello|hey|well|please|pls|now|just|quick question)\b"
    r"[\s,.!:;-]*)*"
)
_ASKING = (
    r"(?:(?:can|could|would|will) (?:you|someone|anyone)|i(?:'d| would) like(?: you)? to"
    r"|i want(?: you)? to|help me(?: to)?|let's)?\s*(?:please\s+|briefly\s+|quickly\s+)*"
)
# "What is the average salary?" asks for data, "what is a salary?" does not.
_QUANTITY = (
    r"(?:total|average|mean|median|sum|number|count|highest|lowest|most|least|largest|smallest"
    r"|maximum|minimum|max|min|oldest|youngest|newest|latest|first|last|top|longest|shortest"
    r"|cheapest|biggest|titles?|names?|price|combined|overall|share|percentage)"
)
_MADE = r"\b(?:type|interface|class|function|enum|struct|method|schema)\b"

_OPENINGS: Mapping[str, re.Pattern[str]] = {
    "explains": re.compile(
        rf"{_OPENING}{_ASKING}(?:explain|describe|define (?!.{{0,30}}{_MADE})|discuss|summari[sz]e"
        r"|compare|clarify|elaborate|teach|tell me (?:about|what|why|how|the difference)"
        r"|walk me through|talk about|understand)\b"
    ),
    "what is": re.compile(
        rf"{_OPENING}(?:what(?:'s| is| are| was| were| exactly is)|what exactly (?:is|are))\s"
        rf"(?!(?:the |our |their |a |an )?{_QUANTITY}\b)"
    ),
    "how to": re.compile(
        rf"{_OPENING}how (?:to|do i|do you|do we|do people|can i|can you|could i|should i|should we"
        r"|does|did|is|are|come|would)\b"
    ),
    "why": re.compile(
        rf"{_OPENING}(?:why|when (?:should|to|would|do|did|was|is)|where (?:does|do|did|can i)"
        r"|who (?:invented|created|made|wrote|is|was|uses))\b"
    ),
    "yes or no": re.compile(
        rf"{_OPENING}(?:is|are|was|should|does|do|did|has|can|could|would|will) (?!you\b)\w+"
    ),
}
_ANYWHERE: Mapping[str, re.Pattern[str]] = {
    "what does": re.compile(
        r"\bwhat (?:does|do|did|would|will|can)\b.{1,80}\b(?:mean|do|stand for|return|print|for)\b"
    ),
}
CUES = (*_OPENINGS, *_ANYWHERE)
"""What a general question looks like, in lower case."""

_CERTAIN = ("explains", "what is", "what does", "how to", "why")


def generic_cues(instruction: str) -> dict[str, bool]:
    """Which cues of a general question a lower-case instruction shows."""
    return {
        **{name: p.match(instruction) is not None for name, p in _OPENINGS.items()},
        **{name: p.search(instruction) is not None for name, p in _ANYWHERE.items()},
    }


def is_generic(cues: Mapping[str, bool]) -> bool:
    """Whether a cue is there that alone makes a general question."""
    return any(cues[name] for name in _CERTAIN)
