"""Draw the facts of a text: one value with the words that stand for it.

A :class:`Fact` is both sides of one field. ``data`` goes into the answer, ``surface``
into prose, ``plain`` into a ``Label: value`` line. For a string the two are the same
text, which is what makes the answer a verbatim copy.
"""

from __future__ import annotations

import datetime as dt
import random
import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NUMBER_WORDS = tuple(
    "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905  # legible
)
NUMBER_IN_WORDS_SHARE = 0.15
HELD_OUT_EVERY = 4


@dataclass(frozen=True, slots=True)
class Fact:
    """The value of one field and its wording; ``data`` is what the answer must hold."""

    data: Any
    surface: str
    plain: str


@dataclass(frozen=True, slots=True)
class Pools:
    """Names shared by all domains. Training and held-out splits never share an entry."""

    entries: Mapping[str, tuple[str, ...]]

    def pick(self, rng: random.Random, name: str) -> str:
        return rng.choice(self.entries[name])


def load_pools(path: Path, *, held_out: bool) -> Pools:
    """Read ``pools.toml`` and keep the training part or the held-out part of each list."""
    with path.open("rb") as file:
        lists = tomllib.load(file)
    entries: dict[str, tuple[str, ...]] = {}
    for name, text in lists.items():
        everything = re.split(r"[|\n]" if "|" in text else r"\s+", text.strip())
        is_held_out = [i % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 for i in range(len(everything))]
        entries[name] = tuple(
            e for e, out in zip(everything, is_held_out, strict=True) if out == held_out
        )
    return Pools(entries)


@dataclass(frozen=True, slots=True)
class Draw:
    """What a drawing function may look at: chance, shared names, options, earlier facts."""

    rng: random.Random
    pools: Pools
    options: Mapping[str, Any]
    drawn: Mapping[str, Fact]


def _same(text: str) -> Fact:
    return Fact(text, text, text)


def _person(d: Draw) -> Fact:
    return _same(f"{d.pools.pick(d.rng, 'first_names')} {d.pools.pick(d.rng, 'last_names')}")


def _doctor(d: Draw) -> Fact:
    return _same(f"Dr. {d.pools.pick(d.rng, 'last_names')}")


def _first_name(d: Draw) -> Fact:
    return _same(d.pools.pick(d.rng, "first_names"))


def _city(d: Draw) -> Fact:
    return _same(d.pools.pick(d.rng, "cities"))


def _company(d: Draw) -> Fact:
    head = d.pools.pick(d.rng, "company_heads")
    return _same(f"{head} {d.pools.pick(d.rng, 'company_tails')}")


def _street(d: Draw) -> Fact:
    name, kind = d.pools.pick(d.rng, "street_names"), d.pools.pick(d.rng, "street_kinds")
    return _same(f"{d.rng.randint(1, 240)} {name} {kind}")


def _road(d: Draw) -> Fact:
    name, kind = d.pools.pick(d.rng, "street_names"), d.pools.pick(d.rng, "street_kinds")
    return _same(f"{name} {kind}")


def _venue(d: Draw) -> Fact:
    """A named place; ``suffixes`` says of which sort (hall, hotel, museum …)."""
    head = d.pools.pick(d.rng, d.rng.choice(("street_names", "company_heads")))
    return _same(f"{head} {d.rng.choice(d.options['suffixes'].split('|'))}")


def _title(d: Draw) -> Fact:
    adjective = d.pools.pick(d.rng, "title_adjectives")
    noun, other = d.rng.sample(d.pools.entries["title_nouns"], 2)
    forms = [f"The {adjective} {noun}", f"{adjective} {noun}", f"A {noun} in the {other}"]
    forms += [f"The {noun} and the {other}", f"Letters to the {noun}", f"The Last {noun}"]
    return _same(d.rng.choice(forms))


def _email(d: Draw) -> Fact:
    """An address; ``of`` names the person field it is built from."""
    person = str(d.drawn[d.options["of"]].data) if "of" in d.options else str(_person(d).data)
    ascii_name = unicodedata.normalize("NFKD", person).encode("ascii", "ignore").decode().lower()
    parts = re.findall(r"[a-z]+", ascii_name) or ["info"]
    user = d.rng.choice(
        (".".join(parts), parts[0][0] + parts[-1], f"{parts[0]}{d.rng.randint(2, 99)}")
    )
    return _same(f"{user}@{d.pools.pick(d.rng, 'mail_hosts')}")


def _phone(d: Draw) -> Fact:
    return _same(
        _fill_code("+4# %## ## ###|555-0###|(%##) 555-0###|0%## ### ####|+1 %## 555 0###", d.rng)
    )


def _code(d: Draw) -> Fact:
    return _same(_fill_code(d.options["formats"], d.rng))


def _fill_code(formats: str, rng: random.Random) -> str:
    """``#`` a digit, ``%`` not zero, ``^`` at most five, ``?`` a capital, ``~`` a hex digit."""
    alphabet = {"#": "0123456789", "%": "123456789", "?": "ABCDEFGHJKLMNPRSTUVWXYZ"}
    alphabet |= {"^": "012345", "~": "0123456789abcdef"}
    chosen = rng.choice(formats.split("|"))
    return "".join(rng.choice(alphabet[c]) if c in alphabet else c for c in chosen)


def _time(d: Draw) -> Fact:
    hour, minute = d.rng.randint(7, 21), d.rng.choice((0, 0, 15, 30, 30, 45, 5, 20, 50))
    half = "am" if hour < 12 else "pm"
    small = (hour - 1) % 12 + 1
    forms = [f"{hour:02d}:{minute:02d}", f"{hour:02d}:{minute:02d}", f"{small}:{minute:02d} {half}"]
    forms.append(f"{small} {half}" if minute == 0 else f"{hour}:{minute:02d}")
    return _same(d.rng.choice(forms))


def _pick(d: Draw) -> Fact:
    return _without_article(d.rng.choice(d.options["from"].split("|")))


def _without_article(option: str) -> Fact:
    """``(a) piano`` reads "a piano" in prose; the value is ``piano``."""
    match = re.fullmatch(r"\((an?|the)\) (.*)", option)
    return Fact(match[2], f"{match[1]} {match[2]}", match[2]) if match else _same(option)


def _pick_integer(d: Draw) -> Fact:
    text = d.rng.choice(d.options["from"].split("|"))
    return Fact(int(text), text, text)


def _member(d: Draw) -> Fact:
    """One of the people in the list that ``of`` names."""
    return _same(d.rng.choice(d.drawn[d.options["of"]].data))


def _list(d: Draw) -> Fact:
    low, high = d.options.get("count", (2, 4))
    items = d.options["from"].split("|")
    chosen = d.rng.sample(items, d.rng.randint(low, min(high, len(items))))
    return _enumerate_in_prose([_without_article(item) for item in chosen], d.rng)


def _people(d: Draw) -> Fact:
    low, high = d.options.get("count", (2, 4))
    chosen: list[str] = []
    for _ in range(d.rng.randint(low, high)):
        name = str((_first_name if d.options.get("first_only") else _person)(d).data)
        if name not in chosen:
            chosen.append(name)
    return _enumerate_in_prose([_same(name) for name in chosen], d.rng)


def _enumerate_in_prose(items: list[Fact], rng: random.Random) -> Fact:
    *others, last = (item.surface for item in items)
    if not others or rng.random() < 0.2:
        prose = ", ".join((*others, last))
    else:
        comma = "," if len(others) > 1 and rng.random() < 0.25 else ""
        prose = f"{', '.join(others)}{comma} and {last}"
    return Fact([i.data for i in items], prose, ", ".join(i.plain for i in items))


def _integer(d: Draw) -> Fact:
    low, high = d.options["low"], d.options["high"]
    value = d.rng.randrange(low, high + 1, d.options.get("step", 1))
    plain = str(value)
    if value >= 1000 and d.options.get("grouped", True) and d.rng.random() < 0.5:
        plain = f"{value:,}"
    in_words = d.options.get("words", True) and 0 <= value < len(NUMBER_WORDS)
    if in_words and d.rng.random() < NUMBER_IN_WORDS_SHARE:
        return Fact(value, NUMBER_WORDS[value], plain)
    return Fact(value, plain, plain)


def _number(d: Draw) -> Fact:
    """A measure or an amount of money, with ``decimals`` places at most."""
    decimals = d.options.get("decimals", 2)
    value = round(d.rng.uniform(d.options["low"], d.options["high"]), decimals)
    if decimals == 2 and value >= 1:
        cents = d.rng.choice((0.0, 0.0, 0.5, 0.99, 0.95, 0.25, round(d.rng.random(), 2)))
        value = round(int(value) + cents, 2)
        if value > 2000:
            value = float(round(value, -1 if d.rng.random() < 0.6 else 0))
    group = "," if value >= 1000 and d.rng.random() < 0.6 else ""
    if value == int(value):
        value = int(value)
        places = 2 if decimals == 2 and d.rng.random() < 0.35 else 0
        text = f"{value:{group}.{places}f}"
    else:
        text = f"{value:{group}.{decimals}f}"
    return Fact(value, text, text)


def _date(d: Draw) -> Fact:
    first = dt.date(d.options.get("from_year", 2021), 1, 1)
    last = dt.date(d.options.get("to_year", 2027), 12, 28)
    day = first + dt.timedelta(days=d.rng.randrange((last - first).days))
    ordinal = {1: "st", 2: "nd", 3: "rd"}.get(
        day.day % 10 if day.day not in (11, 12, 13) else 0, "th"
    )
    forms = [day.isoformat()] * 4 + [f"{day.day} {day:%B} {day.year}"] * 2
    forms += [f"{day:%B} {day.day}, {day.year}"] * 2 + [f"{day.day} {day:%b} {day.year}"]
    forms += [f"{day:%B} {day.day}{ordinal}, {day.year}", f"{day:%Y/%m/%d}"]
    text = d.rng.choice(forms)
    return Fact(day.isoformat(), text, text)


def _boolean(d: Draw) -> Fact:
    value = d.rng.random() < d.options.get("share", 0.5)
    return Fact(
        value,
        d.rng.choice(d.options["yes" if value else "no"].split("|")),
        "yes" if value else "no",
    )


def _enum(d: Draw) -> Fact:
    value = d.rng.choice(list(d.options["values"]))
    wordings = d.options["values"][value] or value
    return Fact(value, d.rng.choice(wordings.split("|")), value.replace("_", " "))


@dataclass(frozen=True, slots=True)
class Kind:
    """How a field of this kind is drawn and what its JSON Schema type is."""

    draw: Callable[[Draw], Fact]
    json_type: str


KINDS: Mapping[str, Kind] = {
    **{
        name: Kind(draw, "string")
        for name, draw in {
            "person": _person,
            "doctor": _doctor,
            "first_name": _first_name,
            "city": _city,
            "company": _company,
            "street": _street,
            "road": _road,
            "venue": _venue,
            "title": _title,
            "email": _email,
            "phone": _phone,
            "code": _code,
            "time": _time,
            "pick": _pick,
            "member": _member,
            "date": _date,
            "enum": _enum,
        }.items()
    },
    "integer": Kind(_integer, "integer"),
    "pick_integer": Kind(_pick_integer, "integer"),
    "number": Kind(_number, "number"),
    "boolean": Kind(_boolean, "boolean"),
    "list": Kind(_list, "array"),
    "people": Kind(_people, "array"),
}
