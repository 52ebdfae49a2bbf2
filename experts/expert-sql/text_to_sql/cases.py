"""Test cases on schemas that training never sees, each with a filled database to run on."""

from __future__ import annotations

import random
from collections.abc import Mapping

from hive_expert.training.generated import Asked, Case, Messages, cases_in_shares
from text_to_sql import forms, resources
from text_to_sql.corpus import TEST
from text_to_sql.draw import Draw
from text_to_sql.examples import ask, draw_for
from text_to_sql.variants import vary

SHARES = {"single": 50, "aggregate": 15, "join": 25, "subquery": 10}
"""Percentages of the families among the cases from patterns."""


def fixtures() -> dict[str, Draw]:
    """The databases of the tests: each schema whole, and a smaller part of it (``…-part``).

    They don't depend on the data set's seed, since the hand-written cases name their values.
    """
    made = {}
    for name, schema in TEST.items():
        rng = random.Random(f"fixture {name}")
        made[name] = draw_for(schema, rng, even=True)
        made[f"{name}-part"] = draw_for(vary(schema, rng, renamed=False), rng, even=True)
    return made


def scripts(draws: Mapping[str, Draw]) -> dict[str, str]:
    """The databases as SQL scripts."""
    return {name: draw.database.script() for name, draw in draws.items()}


def pattern_cases(seed: int, number: int, draws: Mapping[str, Draw]) -> list[Case]:
    """Cases from the patterns of the training data, in exact shares of the families."""
    rng = random.Random(f"{seed}-test")
    for draw in draws.values():
        draw.rng = rng

    def case(identity: str, fixture: str, asked: Asked) -> Case:
        messages = _messages(draws[fixture], forms.punctuated(asked.text, rng), rng)
        return Case(identity, asked.category, messages, asked.answer, {"fixture": fixture})

    return cases_in_shares(
        number, SHARES, list(draws), lambda name, family: ask(draws[name], family, True), case
    )


def free_cases(draws: Mapping[str, Draw]) -> list[Case]:
    """Questions written by hand, in words of their own."""
    cases = []
    for at, row in enumerate(resources.toml("free-cases.toml")["case"], start=1):
        rng = random.Random(f"free {at}")
        messages = _messages(draws[row["fixture"]], row["question"], rng)
        extra = {"fixture": row["fixture"]}
        category = f"other-hand/{row['kind']}"
        cases.append(Case(f"other-hand-{at:03}", category, messages, row["sql"], extra))
    return cases


def _messages(draw: Draw, question: str, rng: random.Random) -> Messages:
    if rng.random() < forms.ONE_MESSAGE:
        return forms.in_one_message(draw.schema, question, rng)
    return Messages(forms.system_message(draw.schema, rng), question)
