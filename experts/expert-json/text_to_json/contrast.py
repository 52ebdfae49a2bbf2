"""Pairs of texts that differ in one fact, so that the difference is what the answers are about.

A text tells hundreds of things apart from what is asked, and a model that has seen few texts
guesses by habit: it fills in a field that the text is silent about, gives a boolean its usual
value, or takes the first of two names. Beside a text, training shows the same text with one fact
unsaid, turned into its opposite, or exchanged with another of its kind.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from text_to_json.domains import Domain
from text_to_json.values import KINDS, Draw, Fact, Pools

SHARE = 0.6
"""Of the training texts that have such a twin."""
_WAYS = {"unsaid": 45, "turned": 35, "exchanged": 20}
_CHOSEN = ("boolean", "enum")
_MAX_TRIES = 20


@dataclass(frozen=True, slots=True)
class Twin:
    """What the second text says: its facts, and the field it does not state, if any."""

    facts: Mapping[str, Fact]
    unsaid: str = ""


def twin(
    rng: random.Random,
    domain: Domain,
    pools: Pools,
    facts: Mapping[str, Fact],
    said: frozenset[str],
) -> Twin | None:
    """A twin of a text by the fields that it states and its schema asks for, if there is one."""
    fields = [key for key in domain.fields if key in said]
    found = {
        "unsaid": [key for key in fields if key not in domain.core],
        "turned": [key for key in fields if domain.fields[key].kind in _CHOSEN],
        "exchanged": _pairs(domain, facts, fields),
    }
    ways = [way for way, subjects in found.items() if subjects]
    if not ways:
        return None
    match rng.choices(ways, [_WAYS[way] for way in ways])[0]:
        case "unsaid":
            return Twin(facts, rng.choice(found["unsaid"]))
        case "turned":
            return _turned(rng, domain, pools, facts, rng.choice(found["turned"]))
        case _:
            one, other = rng.choice(_pairs(domain, facts, fields))
            return Twin({**facts, one: facts[other], other: facts[one]})


def _turned(
    rng: random.Random, domain: Domain, pools: Pools, facts: Mapping[str, Fact], key: str
) -> Twin | None:
    field = domain.fields[key]
    for _ in range(_MAX_TRIES):
        fact = KINDS[field.kind].draw(Draw(rng, pools, field.options, facts))
        if fact.data != facts[key].data:
            return Twin({**facts, key: fact})
    return None


def _pairs(
    domain: Domain, facts: Mapping[str, Fact], fields: Sequence[str]
) -> list[tuple[str, str]]:
    """Fields of one kind whose values can stand for each other."""
    bound = {str(f.options["of"]) for f in domain.fields.values() if "of" in f.options}
    free = [k for k in fields if k not in bound and "of" not in domain.fields[k].options]
    kinds = {key: domain.fields[key].kind for key in free}
    return [
        (one, other)
        for one, other in itertools.combinations(free, 2)
        if kinds[one] == kinds[other]
        and kinds[one] not in (*_CHOSEN, "pick", "list", "code")
        and facts[one].data != facts[other].data
    ]
