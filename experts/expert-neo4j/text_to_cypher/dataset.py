"""The training and validation rows, in groups of questions on one graph."""

from __future__ import annotations

import random

from text_to_sql.forms import punctuated

from hive_expert.training.generated import Asked, Example, ask_group, gather, weighted
from text_to_cypher import forms
from text_to_cypher.corpus import HELD_OUT, TRAIN, VALIDATION
from text_to_cypher.draw import Draw
from text_to_cypher.examples import TAUGHT_MORE, ask, family_weights
from text_to_cypher.graph import Graph
from text_to_cypher.variants import compose, vary

COMPOSED = 0.5
"""Share of training graphs that are put together at random."""
SMALLEST_GROUP = 4


def train_examples(seed: int, number: int) -> list[Example]:
    """Groups of up to eight questions, each group on a graph of its own."""
    rng = random.Random(f"{seed}-train")

    def group(at: int) -> tuple[str, list[Example]]:
        graph = _train_graph(rng, at)
        rows = _group(graph, f"t{at:05}", rng.randint(6, 8), rng)
        return "\n".join(sorted(forms.patterns(graph))), rows

    return gather(number, group, SMALLEST_GROUP)


def validation_examples(seed: int, number: int) -> list[Example]:
    """Questions on the validation graphs, whole, then on parts of them."""
    rng = random.Random(f"{seed}-validation")
    graphs = list(VALIDATION.values())

    def group(at: int) -> tuple[str, list[Example]]:
        graph = graphs[at % len(graphs)]
        if at >= len(graphs):
            graph = vary(graph, rng, renaming=False)
        return f"{at}", _group(graph, f"v{at:05}", 7, rng)

    return gather(number, group)


def _train_graph(rng: random.Random, at: int) -> Graph:
    if rng.random() < COMPOSED:
        return compose(rng, at, HELD_OUT)
    return vary(rng.choice(list(TRAIN.values())), rng)


def _group(graph: Graph, name: str, size: int, rng: random.Random) -> list[Example]:
    draw = Draw(graph, rng)
    system = forms.system_message(graph, rng)
    weights = family_weights(graph)

    def asked() -> Asked | None:
        question = ask(draw, weighted(rng, weights), TAUGHT_MORE)
        if question is None:
            return None
        return Asked(punctuated(question.text, rng), question.answer, question.category)

    def alone(question: str) -> str | None:
        if rng.random() >= forms.ONE_MESSAGE:
            return None
        return forms.in_one_message(graph, question, rng).user

    return list(ask_group(name, size, system, asked, alone))
