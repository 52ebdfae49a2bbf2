"""Put facts into words: prose, a labelled record, a hurried chat line.

Each text says which fields it mentions. Facts that the schema does not ask for are
mentioned too: leaving them out of the answer is half of what the expert learns.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from text_to_json.domains import OPTIONAL, SLOT, Domain, Field, slots
from text_to_json.values import Fact

RECORD_SHARE = 0.09
CHAT_SHARE = 0.05
FRAME_SHARE = 0.3
MAX_PARTS = 4
MAX_CHARACTERS = 420

OPENINGS = (
    "Hi,\n\n", "Hello,\n\n", "Hi team,\n\n", "Hi there, ", "Hello! ", "Good morning,\n", "FYI: ",
    "Quick note: ", "Note: ", "Update: ", "Hey, ", "Dear all,\n\n", "As promised: ",
    "For the file: ",
)  # fmt: skip
CLOSINGS = (
    " Thanks!", "\n\nThanks", "\n\nBest regards", " Cheers", " Let me know if anything is unclear.",
    " That's all for now.", " Call me if you have questions.", "\n\nKind regards,\nthe office",
    " Please add it to the list.", " More tomorrow.", "\n\n(sent from my phone)",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Text:
    """A text and the fields it mentions."""

    text: str
    mentioned: frozenset[str]


def compose(
    rng: random.Random,
    domain: Domain,
    facts: Mapping[str, Fact],
    wanted: frozenset[str],
    unsaid: str = "",
) -> Text:
    """Write one text that states all core fields and some others, wanted ones mostly.

    What states ``unsaid`` is left out where it may be; by the same chance the text is else the
    same.
    """
    if rng.random() < RECORD_SHARE:
        return _record(rng, domain, facts, wanted, unsaid)
    source = rng.choices(("texts", "leads"), (len(domain.texts), 1.6 * len(domain.leads)))[0]
    if source == "texts":
        template = _settle_optional(rng, rng.choice(domain.texts), wanted, unsaid)
    else:
        template = _lead_and_parts(rng, domain, wanted, unsaid)
    if domain.is_message and rng.random() < CHAT_SHARE:
        return Text(_chat(_fill(template, facts)), slots(template))
    text = "".join(_fill(template, facts))
    if domain.is_message and rng.random() < FRAME_SHARE and len(text) < MAX_CHARACTERS - 60:
        text = _frame(rng, text)
    return Text(text, slots(template))


def _settle_optional(rng: random.Random, template: str, wanted: frozenset[str], unsaid: str) -> str:
    """Keep or drop each ``[[…]]``; one that states a wanted fact stays more often."""

    def keep(match: re.Match[str]) -> str:
        chance = 0.75 if slots(match[1]) & wanted else 0.5
        return match[1] if rng.random() < chance and unsaid not in slots(match[1]) else ""

    return OPTIONAL.sub(keep, template)


def _lead_and_parts(rng: random.Random, domain: Domain, wanted: frozenset[str], unsaid: str) -> str:
    template = _settle_optional(rng, rng.choice(domain.leads), wanted, unsaid)
    parts = list(domain.parts)
    rng.shuffle(parts)
    parts.sort(key=lambda part: not (slots(part) & wanted and rng.random() < 0.85))
    for part in parts[: rng.randint(2, MAX_PARTS + 1)]:
        said, new = slots(template), slots(part)
        if said & new or unsaid in new or len(template) + len(part) > MAX_CHARACTERS:
            continue
        template += rng.choice((" ", " ", " ", " ", "\n")) + part
    return template


def _fill(template: str, facts: Mapping[str, Fact]) -> list[str]:
    """The filled template in pieces: literal text at even places, values at odd ones."""
    pieces: list[str] = []
    position = 0
    for match in SLOT.finditer(template):
        literal = template[position : match.start()]
        words = _words(facts[match[2]], literal)
        if match[1]:
            literal += _article(words) + " "
        pieces += [literal, words]
        position = match.end()
    return [*pieces, template[position:]]


def _words(fact: Fact, before: str) -> str:
    """A sentence does not begin with a number in words; after a colon comes a plain list."""
    begins = re.search(r"(^|[.!?:]\s|\n)$", before) is not None
    return fact.plain if begins and not isinstance(fact.data, bool | str) else fact.surface


def _article(words: str) -> str:
    if re.match(r"(?i)uni[tvq]|use|one\b|eu|uk", words):
        return "a"
    vowel_sound = r"[aeiouAEIO]|8|11\b|18\b|[FHLMNRSX](?=[A-Z\d-])"
    return "an" if re.match(vowel_sound, words) else "a"


def _record(
    rng: random.Random,
    domain: Domain,
    facts: Mapping[str, Fact],
    wanted: frozenset[str],
    unsaid: str,
) -> Text:
    """``Label: value`` lines, in an order and with labels of their own."""
    keys = [
        k for k in domain.fields
        if (k in domain.core or rng.random() < (0.85 if k in wanted else 0.35)) and k != unsaid
    ]  # fmt: skip
    rng.shuffle(keys)
    separator = rng.choice(("\n", "\n", "\n", "; ", " | "))
    between = rng.choice((": ", ": ", ": ", " = ", " - "))
    lower = rng.random() < 0.25
    lines = [f"{_label(rng, domain.fields[k], lower)}{between}{facts[k].plain}" for k in keys]
    return Text(separator.join(lines), frozenset(keys))


def _label(rng: random.Random, field: Field, lower: bool) -> str:
    label = rng.choice(field.names).replace("_", " ")
    return label if lower else label[0].upper() + label[1:]


def _chat(pieces: list[str]) -> str:
    """No capitals, no full stop at the end; the values stay as they are."""
    text = "".join(p if i % 2 else _lower(p) for i, p in enumerate(pieces))
    return text[:-1] if text.endswith(".") else text


def _lower(literal: str) -> str:
    return re.sub(r"\b[A-Z](?=[a-z']*\b)", lambda m: m[0].lower(), literal).replace(" i ", " I ")


def _frame(rng: random.Random, text: str) -> str:
    roll = rng.random()
    opening = rng.choice(OPENINGS) if roll < 0.65 else ""
    closing = rng.choice(CLOSINGS) if roll > 0.45 else ""
    return opening + text + closing
