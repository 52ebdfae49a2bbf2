"""Test cases on schemas that training never sees, each with a filled database to run on."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from text_to_sql import forms, resources
from text_to_sql.corpus import TEST
from text_to_sql.draw import Draw
from text_to_sql.examples import Example, ask, draw_for
from text_to_sql.forms import Messages
from text_to_sql.variants import vary

SHARES = {"single": 50, "aggregate": 15, "join": 25, "subquery": 10}
"""Percentages of the families among the cases from patterns."""


@dataclass(frozen=True)
class Case:
    """A question put to a fixture, and one right answer."""

    id: str
    category: str
    messages: Messages
    expected: str
    fixture: str

    def as_json(self) -> dict[str, Any]:
        roles = [("system", self.messages.system), ("user", self.messages.user)]
        return {
            "id": self.id,
            "category": self.category,
            "messages": [{"role": role, "content": text} for role, text in roles if text],
            "expected": self.expected,
            "fixture": self.fixture,
        }

    def as_example(self) -> Example:
        messages = self.messages
        return Example(messages.system, messages.user, self.expected, self.id, self.category)


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


def pattern_cases(seed: int, number: int, draws: Mapping[str, Draw]) -> list[Case]:
    """Cases from the patterns of the training data, in exact shares of the families."""
    cases: list[Case] = []
    rng = random.Random(f"{seed}-test")
    order = list(draws)
    for draw in draws.values():
        draw.rng = rng
    for family, share in SHARES.items():
        wanted, made = number * share // 100, 0
        for turn in range(wanted * 3):  # some fixtures have one table and take no joins
            if made == wanted:
                break
            name = order[(turn * 5 + len(family)) % len(order)]  # 5: part and whole in turn
            question = ask(draws[name], family, strict=True)
            if question is None:
                continue
            made += 1
            messages = _messages(draws[name], forms.punctuated(question.text, rng), rng)
            identity = f"{question.category.replace('/', '-')}-{made:03}"
            cases.append(Case(identity, question.category, messages, question.sql, name))
    return cases


def free_cases(draws: Mapping[str, Draw]) -> list[Case]:
    """Questions written by hand, in words of their own."""
    cases = []
    for at, row in enumerate(resources.toml("free-cases.toml")["case"], start=1):
        rng = random.Random(f"free {at}")
        messages = _messages(draws[row["fixture"]], row["question"], rng)
        category = f"other-hand/{row['kind']}"
        cases.append(Case(f"other-hand-{at:03}", category, messages, row["sql"], row["fixture"]))
    return cases


def document(cases: list[Case], draws: Mapping[str, Draw]) -> str:
    """The test file: every fixture that a case uses, as an SQL script, and a case a line."""
    used = {c.fixture for c in cases}
    scripts = {name: draw.database.script() for name, draw in draws.items() if name in used}
    fixture_lines = [f"{_json(name)}: {_json(script)}" for name, script in scripts.items()]
    case_lines = [_json(c.as_json()) for c in cases]
    return (
        '{\n"format": 1,\n"metric": "sql_execution",\n"fixtures": {\n'
        + ",\n".join(fixture_lines)
        + '\n},\n"cases": [\n'
        + ",\n".join(case_lines)
        + "\n]\n}\n"
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _messages(draw: Draw, question: str, rng: random.Random) -> Messages:
    if rng.random() < forms.ONE_MESSAGE:
        return forms.in_one_message(draw.schema, question, rng)
    return Messages(forms.system_message(draw.schema, rng), question)
