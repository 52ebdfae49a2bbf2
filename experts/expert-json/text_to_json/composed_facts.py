"""The facts of composed domains: for each sort its field, its property names and its sentences."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from text_to_json.domains import Field

_CURRENCIES = (("{} euros", "eur"), ("${}", "usd"), ("{} pounds", "gbp"), ("EUR {}", "eur"))


@dataclass(frozen=True)
class BankFact:
    """A field and the sentences that state it."""

    sort: str
    field: Field
    sentences: tuple[str, ...]


def make_fact(rng: random.Random, sort: str, line: str, thing: str) -> BankFact:
    """The fact of a line of ``attributes.toml``, about a thing."""
    phrase, *rest = line.split(" | ")
    return _SORTS[sort](rng, phrase, rest[0].split("|") if sort in _LISTED else rest, thing)


_LISTED = ("venue", "code", "pick", "list")
"""Sorts whose options are one list."""


def _made(
    sort: str,
    kind: str,
    phrase: str,
    names: Sequence[str],
    sentences: Sequence[str],
    **options: Any,
) -> BankFact:
    key = snake(phrase)
    kept = tuple(dict.fromkeys(names))
    field = Field(key, kind, kept, kept[:2], options)
    return BankFact(sort, field, tuple(_said(sentence, key, phrase) for sentence in sentences))


def _said(sentence: str, key: str, phrase: str) -> str:
    """``*`` is the value, ``X`` the phrase, ``^X`` the phrase at the beginning of a sentence."""
    text = sentence.replace("*", "{" + key + "}")
    text = text.replace("^X", phrase[0].upper() + phrase[1:])
    return re.sub(r"\bX\b", phrase, text)


def snake(phrase: str) -> str:
    return re.sub(r"[^a-z]+", "_", phrase.lower()).strip("_")


def _person(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    sentences = ("The X is *.", "^X: *.", "* is the X.", "* will be the X.", "The X will be *.",
                 "The name of the X is *.", "As X we have *.")  # fmt: skip
    return _made("person", "person", phrase, (s, f"{s}_name", f"name_of_{s}"), sentences)


def _date(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    sentences = ("The X date is *.", "^X: *.", "The X is on *.", "The date of the X is *.",
                 "The X was set for *.", "^X date: *.", "^X on *.")  # fmt: skip
    return _made("date", "date", phrase, (f"{s}_date", s, f"date_of_{s}", f"{s}_on"), sentences)


def _time(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    sentences = ("The X time is *.", "^X is at *.", "^X: *.", "^X time: *.", "^X at *.")
    return _made("time", "time", phrase, (f"{s}_time", s, f"{s}_at"), sentences)


def _city(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    sentences = ("The X is *.", "^X: *.", "* is the X.", "As X they name *.")
    return _made("city", "city", phrase, (s, f"{s}_city"), sentences)


def _company(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    sentences = (
        "The X is *.",
        "^X: *.",
        "* is the X.",
        "The name of the X is *.",
        "* acts as the X.",
    )
    return _made("company", "company", phrase, (s, f"{s}_name", f"{s}_company"), sentences)


def _venue(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    sentences = ("The X is the *.", "^X: *.", "The X is called *.", "We chose the * as the X.")
    names = (s, f"{s}_name")
    return _made("venue", "venue", phrase, names, sentences, suffixes="|".join(rest))


def _title(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    sentences = ("The X is called *.", "^X: *.", 'The title of the X is "*".', "The X is *.")
    return _made("title", "title", phrase, (s, f"{s}_title", f"title_of_{s}"), sentences)


def _count(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    one, many = phrase.split(", ")
    s, m = snake(one), snake(many)
    sentences = ("There are * X.", "It has * X.", "^X: *.", "The number of X is *.",
                 "I counted * X.", "* X in total.", "That makes * X.", "The {thing} has * X."
                 )  # fmt: skip
    names = (m, f"{s}_count", f"number_of_{m}", f"num_{m}", f"total_{m}")
    texts = [sentence.replace("{thing}", thing) for sentence in sentences]
    return _made("count", "integer", many, names, texts, low=int(rest[0]), high=int(rest[1]))


def _measure(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    said, written = rest[0].split(", ")
    decimals = int(rest[3])
    sentences = ("The X is * U.", "^X: * U.", "^X * U.", "It has an X of * U.",
                 "They measured an X of * U.", "The X comes to * U.")  # fmt: skip
    article = "an X" if phrase[0] in "aeiou" else "a X"
    texts = [sentence.replace("an X", article).replace(" U", f" {said}") for sentence in sentences]
    names = (s, f"{s}_{written}", f"{s}_in_{written}")
    options: dict[str, Any] = {"low": int(rest[1]), "high": int(rest[2])}
    if decimals and rng.random() < 0.8:
        return _made("measure", "number", phrase, names, texts, **options, decimals=decimals)
    return _made("measure", "integer", phrase, names, texts, **options, words=False)


def _money(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    said, written = rng.choice(_CURRENCIES)
    sentences = ("The X is V.", "^X: V.", "The X comes to V.", "^X V.", "The X was V.",
                 "They want V as the X.")  # fmt: skip
    texts = [re.sub(r"\bV\b", said.format("*"), sentence) for sentence in sentences]
    names = (s, f"{s}_amount", f"{s}_{written}")
    options = {"low": int(rest[0]), "high": int(rest[1])}
    if rng.random() < 0.5:
        return _made("money", "number", phrase, names, texts, **options)
    return _made("money", "integer", phrase, names, texts, **options, words=False)


def _code(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    short = s.removesuffix("_number")
    names = (s, f"{short}_no", f"{short}_id") if short != s else (s, f"{s}_code", f"{s}_id")
    sentences = ("The X is *.", "^X: *.", "^X *.", "It has the X *.", "* is the X.")
    return _made("code", "code", phrase, names, sentences, formats="|".join(rest))


def _email(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    names = (snake(phrase), "email", "email_address")
    sentences = ("The X is *.", "^X: *.", "Please write to *.", "You can reach us at *.")
    return _made("email", "email", phrase, names, sentences)


def _phone(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    names = (snake(phrase), "phone", "telephone")
    return _made(
        "phone", "phone", phrase, names, ("The X is *.", "^X: *.", "Please call *.", "Tel. *.")
    )


def _enum(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    values = dict.fromkeys(rest[0].split(","), "")
    sentences = ("The X is *.", "^X: *.", "The X was given as *.", "For the X, they wrote *.")
    return _made("enum", "enum", phrase, (s, f"{snake(thing)}_{s}"), sentences, values=values)


def _pick(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    sentences = ("The X is *.", "^X: *.", "As the X, they named *.", "For the X it says *.")
    names = (s, f"{snake(thing)}_{s}")
    return _made("pick", "pick", phrase, names, sentences, **{"from": "|".join(rest)})


def _list(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    sentences = ("^X: *.", "The X are *.", "Among the X are *.", "They listed * as X.")
    names = (s, f"{snake(thing)}_{s}")
    options = {"from": "|".join(rest), "count": (1, 4)}
    return _made("list", "list", phrase, names, sentences, **options)


def _state(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s = snake(phrase)
    yes = f"It is {phrase}.|The {thing} is {phrase}.|{phrase[0].upper() + phrase[1:]}: yes."
    no = f"It is not {phrase}.|The {thing} isn't {phrase}.|{phrase[0].upper() + phrase[1:]}: no."
    return _made("state", "boolean", phrase, (s, f"is_{s}"), ("*",), yes=yes, no=no)


def _having(rng: random.Random, phrase: str, rest: list[str], thing: str) -> BankFact:
    s, an = snake(phrase), "an" if phrase[0] in "aeiou" else "a"
    yes = f"It has {an} {phrase}.|There is {an} {phrase}.|It comes with {an} {phrase}."
    no = f"It has no {phrase}.|There is no {phrase}.|It comes without {an} {phrase}."
    return _made("having", "boolean", phrase, (f"has_{s}", s), ("*",), yes=yes, no=no)


_SORTS: Mapping[str, Callable[[random.Random, str, list[str], str], BankFact]] = {
    "person": _person, "date": _date, "time": _time, "city": _city, "company": _company,
    "venue": _venue, "title": _title, "count": _count, "measure": _measure, "money": _money,
    "code": _code, "email": _email, "phone": _phone, "enum": _enum, "pick": _pick, "list": _list,
    "state": _state, "having": _having,
}  # fmt: skip
