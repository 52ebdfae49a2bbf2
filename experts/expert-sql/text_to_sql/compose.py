"""Schemas put together at random from a bank of nouns and columns: no two are alike.

Hand-written schemas are learned by heart sooner than they teach reading. These say things that
nobody would ("whales" with a "price"), in names the model has to copy from the schema.
"""

from __future__ import annotations

import random
from dataclasses import replace

from text_to_sql import english, resources
from text_to_sql.schema import Column, Schema, Table, parse_column, parse_table
from text_to_sql.variants import named_in_style, with_missing_values

_BANK = resources.toml("bank.toml")
_THEMES = {"person": 28, "thing": 32, "place": 20, "event": 20}
"""What a table may be about, with weights."""
_SHAPES = {
    # for each table the tables its keys point to
    "chain": [[], [0], [1]],
    "bridge": [[], [], [0, 1]],
    "fan": [[], [0], [0]],
}
_CONFUSABLE = ("rating", "status", "city", "country", "price", "score")


def compose(rng: random.Random, number: int, forbidden: frozenset[str]) -> Schema:
    """A schema of one to four tables, none of a `forbidden` name, held together by keys."""
    size = rng.choices([1, 2, 3, 4], [20, 42, 33, 5])[0]
    themes = [rng.choices(list(_THEMES), list(_THEMES.values()))[0] for _ in range(size)]
    nouns: list[str] = []
    for theme in themes:
        taken = {*nouns, *forbidden}
        nouns.append(rng.choice([n for n in _BANK[theme]["nouns"] if n not in taken]))
    targets = _targets(size, rng)
    shared = rng.sample(_CONFUSABLE, 2)
    tables = [
        _table(noun, theme, [nouns[i] for i in pointed], shared, rng)
        for theme, noun, pointed in zip(themes, nouns, targets, strict=True)
    ]
    tables = with_missing_values(tables, rng)
    if rng.random() < 0.6:
        rng.shuffle(tables)
    return named_in_style(Schema(f"composed-{number}", tuple(tables)), rng)


def _targets(size: int, rng: random.Random) -> list[list[int]]:
    if size <= 2:
        return [[], [0]][:size]
    shape = _SHAPES[rng.choice(["chain", "bridge", "bridge", "fan"])]
    return [*shape, [rng.randrange(3)]] if size == 4 else shape


def _table(
    noun: str, theme: str, targets: list[str], shared: list[str], rng: random.Random
) -> Table:
    """`shared` columns turn up in several tables, so that their owner must be told apart."""
    bank = [parse_column(c) for c in (*_BANK[theme]["columns"], *_BANK["any_column"])]
    label = parse_column(rng.choice(_BANK[theme]["labels"]))
    unnamed = bool(targets) and theme == "event" and rng.random() < 0.5
    columns = _columns([c for c in bank if c.name != label.name], len(targets) > 1, shared, rng)
    columns = [parse_column("id"), *([] if unnamed else [label]), *columns]
    keys = {k.name: k for k in (_key(target, rng) for target in targets)}
    at = rng.choice([1, len(columns), len(columns)])
    columns[at:at] = keys.values()
    return replace(parse_table(f"{noun}: id"), columns=tuple(columns))


def _columns(
    bank: list[Column], is_bridge: bool, shared: list[str], rng: random.Random
) -> list[Column]:
    """One to four columns; mostly one of them is a number, now and then one a free text."""
    plain = [c for c in bank if c.kind != "label"]
    texts = [c for c in bank if c.kind == "label"]
    chosen = rng.sample(plain, rng.randint(2, 4) - is_bridge)
    if rng.random() < 0.12:
        chosen[-1] = rng.choice(texts)
    common = [c for c in bank if c.name in shared and c not in chosen]
    if common and rng.random() < 0.4:
        chosen[0] = rng.choice(common)
    if not any(c.is_number for c in chosen) and rng.random() < 0.7:
        chosen[-1] = rng.choice([c for c in plain if c.is_number and c not in chosen])
    named = {c.name: _prefixed(c, rng) for c in chosen}
    # Only one column may be the label of a table.
    return [
        replace(c, kind="choice", values=c.values[:6]) if c.kind == "label" else c
        for c in named.values()
    ]


def _prefixed(column: Column, rng: random.Random) -> Column:
    """*annual_salary*, *net_price*: names of more than one word, which must be copied whole."""
    if not column.is_number or "_" in column.name or rng.random() > 0.15:
        return column
    name = f"{rng.choice(_BANK['prefixes'])}_{column.name}"
    return replace(column, name=name, phrase=english.spoken(name))


def _key(target: str, rng: random.Random) -> Column:
    """``customer_id``, or now and then a role: ``owner_id``."""
    role = english.singular(english.spoken(target))
    if target in _BANK["person"]["nouns"] and rng.random() < 0.1:
        role = rng.choice(_BANK["roles"])
    return Column(f"{role.replace(' ', '_')}_id", "fk", role, target=target)
