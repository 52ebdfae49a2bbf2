"""Test cases on graphs that training never sees."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from text_to_sql.forms import Messages, punctuated

from text_to_cypher import forms, resources
from text_to_cypher.corpus import TEST
from text_to_cypher.draw import Draw
from text_to_cypher.examples import SHARES, Example, ask
from text_to_cypher.graph import Graph
from text_to_cypher.variants import vary


@dataclass(frozen=True)
class Case:
    """A question put to a graph schema, and one right answer."""

    id: str
    category: str
    messages: Messages
    expected: str

    def as_json(self) -> dict[str, Any]:
        roles = [("system", self.messages.system), ("user", self.messages.user)]
        return {
            "id": self.id,
            "category": self.category,
            "messages": [{"role": role, "content": text} for role, text in roles if text],
            "expected": self.expected,
        }

    def as_example(self) -> Example:
        messages = self.messages
        return Example(messages.system, messages.user, self.expected, self.id, self.category)


def graphs() -> dict[str, Graph]:
    """Each test graph whole, and a smaller part of it (``…-part``)."""
    made = {}
    for name, graph in TEST.items():
        made[name] = graph
        made[f"{name}-part"] = vary(graph, random.Random(f"part {name}"), renaming=False)
    return made


def pattern_cases(seed: int, number: int) -> list[Case]:
    """Cases from the patterns of the training data, in exact shares of the families."""
    cases: list[Case] = []
    rng = random.Random(f"{seed}-test")
    draws = {name: Draw(graph, rng) for name, graph in graphs().items()}
    order = list(draws)
    for family, share in SHARES.items():
        wanted, made = number * share // 100, 0
        for turn in range(wanted * 3):  # some graphs have no loop
            if made == wanted:
                break
            draw = draws[order[(turn * 5 + len(family)) % len(order)]]  # part and whole in turn
            question = ask(draw, family)
            if question is None:
                continue
            made += 1
            messages = _messages(draw.graph, punctuated(question.text, rng), rng)
            identity = f"{question.category.replace('/', '-')}-{made:03}"
            cases.append(Case(identity, question.category, messages, question.cypher))
    return cases


def free_cases() -> list[Case]:
    """Questions written by hand, in words of their own."""
    cases = []
    for at, row in enumerate(resources.toml("free-cases.toml")["case"], start=1):
        rng = random.Random(f"free {at}")
        messages = _messages(TEST[row["graph"]], row["question"], rng)
        category = f"other-hand/{row['kind']}"
        cases.append(Case(f"other-hand-{at:03}", category, messages, row["cypher"]))
    return cases


def document(cases: list[Case]) -> str:
    """The test file, a case a line."""
    lines = [json.dumps(c.as_json(), ensure_ascii=False) for c in cases]
    head = '{\n"format": 1,\n"metric": "cypher_structure",\n"cases": [\n'
    return head + ",\n".join(lines) + "\n]\n}\n"


def _messages(graph: Graph, question: str, rng: random.Random) -> Messages:
    if rng.random() < forms.ONE_MESSAGE:
        return forms.in_one_message(graph, question, rng)
    return Messages(forms.system_message(graph, rng), question)
