"""Does a message stand alone, or does it add to the one before?"""

from __future__ import annotations

import re

from hive_expert.router.generic import generic_cues, is_generic
from hive_expert.router.turns import Request

MAX_WORDS = 14

_POLITE = (
    r"\A\W*(?:(?:ok|okay|great|thanks|thank you|good|nice|perfect|no|yes|please|and|but|so|hm+"
    r"|wait|actually)\b[\s,.!—-]*)*"
)
_CONTINUES = re.compile(
    rf"{_POLITE}(?:now|only|also|same|again|then|instead|but|and|what about|how about"
    r"|make (?:it|that|them|this|the)|sort|order|limit|group|add|include|exclude|without|with"
    r"|just|rename|use|keep|drop the|skip|leave|change|replace|remove|swap|those|these|that|it"
    r"|the same|this time|one more|another|rather|not|for|in descending|in ascending|descending"
    r"|ascending|newest|oldest|top|per|by|both|call (?:it|that|the)"
    r"|can you (?:also|add|make|sort|limit|change|include|use|do (?:it|that|the same)))\b"
)

# What points back to something said, in a message that asks no question of its own.
_POINTS_BACK = re.compile(
    r"\b(?:it|its|them|those|these|same|instead|too|also|as well|again|ones|others|rather)\b"
    r"|\bthat\W*\Z"
)
_ASKS = re.compile(
    rf"{_POLITE}(?:is|are|was|were|does|do|did|has|have|should|who|what|when|where|why|how|tell"
    r"|explain)\b"
)
MAX_POINTING_WORDS = 9


def is_follow_up(request: Request) -> bool:
    """A short message that opens with a change or an addition, or points back to what was said;
    and asks no general question."""
    instruction = request.instruction.lower()
    words = len(instruction.split())
    if words > MAX_WORDS or is_generic(generic_cues(instruction)):
        return False
    if _CONTINUES.match(instruction):
        return True
    points_back = _POINTS_BACK.search(instruction) is not None
    return points_back and words <= MAX_POINTING_WORDS and not _ASKS.match(instruction)
