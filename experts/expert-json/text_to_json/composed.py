"""Domains without end, composed from a bank of facts.

A hand-written domain teaches how people write about one thing; from some dozens of them a small
model learns those things by heart. A composed domain is like no other: a record of any kind with
facts of all sorts, plainly said, so that nothing but the property's name tells which fact is meant,
and nothing but the text whether it is there at all.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from text_to_json.composed_facts import BankFact, make_fact, snake
from text_to_json.domains import Domain, Nest

FIELDS = (7, 8, 9, 10)
_WEIGHTS = {
    "person": 9, "date": 7, "time": 3, "city": 3, "company": 4, "venue": 2, "title": 2, "count": 10,
    "measure": 8, "money": 8, "code": 8, "email": 1, "phone": 1, "enum": 8, "pick": 8, "list": 7,
    "state": 8, "having": 5,
}  # fmt: skip
"""How often a fact is of which sort."""
_NAMING = ("code", "title", "person", "company")
"""Sorts that can say which record is meant."""
_OPENERS = (
    "", "", "News about the {thing}. ", "About the {thing}: ", "{Thing} report. ",
    "The {thing} again. ", "Here is what I know of the {thing}. ", "A new {thing} came in. ",
    "{Thing}, short summary: ",
    "I was asked about the {thing}. ", "We have talked about the {thing}. ",
)  # fmt: skip
_COMMON = {
    *("name", "of", "date", "on", "time", "at", "number", "no", "id", "count", "num", "total"),
    *("amount", "eur", "usd", "gbp", "in", "is", "has"),
}
"""Words of many names, which say only of which sort a fact is."""
_NEST_NAMES = "details info data particulars"


@dataclass(frozen=True)
class Bank:
    """The sorts of facts with their lines, the things that records are about, and fillers."""

    lines: Mapping[str, tuple[str, ...]]

    @cached_property
    def things(self) -> tuple[str, ...]:
        return self.lines["things"]

    @cached_property
    def fillers(self) -> tuple[str, ...]:
        return self.lines["fillers"]


def load_bank(path: Path) -> Bank:
    """Read ``attributes.toml``."""
    with path.open("rb") as file:
        texts = tomllib.load(file)
    return Bank({name: tuple(text.strip().split("\n")) for name, text in texts.items()})


def with_composed(
    written: Sequence[Domain], bank: Bank, seed: int
) -> Callable[[int], tuple[Domain, ...]]:
    """The domains of each round of training: all written ones and as many new composed ones."""

    def domains_of(number: int) -> tuple[Domain, ...]:
        seeds = (f"{seed}-{number}-{at}" for at in range(len(written)))
        return (*written, *(compose_domain(bank, of) for of in seeds))

    return domains_of


def compose_domain(bank: Bank, seed: str) -> Domain:
    """The domain of a seed. Laws as of every :class:`Domain`; equal seeds give equal domains."""
    rng = random.Random(seed)
    thing = rng.choice(bank.things)
    facts = _facts(rng, bank, thing)
    core = next((f for f in facts if f.sort in _NAMING), facts[0])
    said = {
        fact.field.key: rng.sample(fact.sentences, min(3, len(fact.sentences))) for fact in facts
    }
    leads = tuple(
        _opener(rng, thing) + said[core.field.key][at % len(said[core.field.key])]
        for at in range(3)
    )
    others = [fact.field.key for fact in facts if fact is not core]
    parts = [sentence for key in others for sentence in said[key]]
    return Domain(
        name=f"composed-{seed}",
        split="train",
        fields={fact.field.key: fact.field for fact in facts},
        nests=_nests(rng, thing, others),
        texts=tuple(_whole(rng, lead, others, said) for lead in leads[:2]),
        leads=leads,
        parts=(*parts, *rng.sample(bank.fillers, 4)),
        is_message=True,
    )


def _facts(rng: random.Random, bank: Bank, thing: str) -> list[BankFact]:
    found: dict[str, BankFact] = {}
    taken: set[str] = set()
    wanted = rng.choice(FIELDS)
    while len(found) < wanted:
        sort = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        fact = make_fact(rng, sort, rng.choice(bank.lines[sort]), thing)
        # Two fields of one name, or with one phrase within another, could not be told apart.
        words = {word for name in fact.field.names for word in name.split("_")} - _COMMON
        if taken & {*fact.field.names, *words}:
            continue
        taken |= {*fact.field.names, *words}
        found[fact.field.key] = fact
    return list(found.values())


def _opener(rng: random.Random, thing: str) -> str:
    return rng.choice(_OPENERS).format(thing=thing, Thing=thing[0].upper() + thing[1:])


def _whole(
    rng: random.Random, lead: str, keys: Sequence[str], said: Mapping[str, Sequence[str]]
) -> str:
    chosen = rng.sample(keys, min(len(keys), rng.randint(3, 5)))
    return lead + "".join(f"[[ {rng.choice(said[key])}]]" for key in chosen)


def _nests(rng: random.Random, thing: str, keys: Sequence[str]) -> tuple[Nest, ...]:
    first, second = rng.sample(keys, 2), rng.sample(keys, 3)
    names = tuple(_NEST_NAMES.split())
    own = tuple(f"{snake(thing)}_{name}" for name in names)
    return Nest((snake(thing), *names), tuple(first)), Nest(own, tuple(second))
