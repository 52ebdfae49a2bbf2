"""Test cases on graphs that training never sees."""

from __future__ import annotations

import random

from text_to_sql.forms import punctuated

from hive_expert.training.generated import Asked, Case, Messages, cases_in_shares
from text_to_cypher import forms, resources
from text_to_cypher.corpus import TEST
from text_to_cypher.draw import Draw
from text_to_cypher.examples import SHARES, ask
from text_to_cypher.graph import Graph
from text_to_cypher.variants import vary


def graphs() -> dict[str, Graph]:
    """Each test graph whole, and a smaller part of it (``…-part``)."""
    made = {}
    for name, graph in TEST.items():
        made[name] = graph
        made[f"{name}-part"] = vary(graph, random.Random(f"part {name}"), renaming=False)
    return made


def pattern_cases(seed: int, number: int) -> list[Case]:
    """Cases from the patterns of the training data, in exact shares of the families."""
    rng = random.Random(f"{seed}-test")
    draws = {name: Draw(graph, rng) for name, graph in graphs().items()}

    def case(identity: str, name: str, asked: Asked) -> Case:
        messages = _messages(draws[name].graph, punctuated(asked.text, rng), rng)
        return Case(identity, asked.category, messages, asked.answer)

    return cases_in_shares(
        number, SHARES, list(draws), lambda name, family: ask(draws[name], family), case
    )


def free_cases() -> list[Case]:
    """Questions written by hand, in words of their own."""
    cases = []
    for at, row in enumerate(resources.toml("free-cases.toml")["case"], start=1):
        rng = random.Random(f"free {at}")
        messages = _messages(TEST[row["graph"]], row["question"], rng)
        category = f"other-hand/{row['kind']}"
        cases.append(Case(f"other-hand-{at:03}", category, messages, row["cypher"]))
    return cases


def _messages(graph: Graph, question: str, rng: random.Random) -> Messages:
    if rng.random() < forms.ONE_MESSAGE:
        return forms.in_one_message(graph, question, rng)
    return Messages(forms.system_message(graph, rng), question)
