"""The training and validation rows, in groups of questions on one graph."""

from __future__ import annotations

import random
from collections.abc import Iterator

from text_to_sql.forms import punctuated

from text_to_cypher import forms
from text_to_cypher.corpus import HELD_OUT, TRAIN, VALIDATION
from text_to_cypher.draw import Draw
from text_to_cypher.examples import Example, ask, family_weights
from text_to_cypher.graph import Graph
from text_to_cypher.variants import compose, vary

COMPOSED = 0.5
"""Share of training graphs that are put together at random."""
SMALLEST_GROUP = 4


def train_examples(seed: int, number: int) -> list[Example]:
    """`number` rows; more rows leave the first ones as they are."""
    rng = random.Random(f"{seed}-train")
    examples: list[Example] = []
    seen: set[str] = set()
    for at in range(number):  # more groups than are ever needed
        if len(examples) >= number:
            break
        graph = _train_graph(rng, at)
        group = list(_group(graph, f"t{at:05}", rng.randint(6, 8), rng))
        text = "\n".join(sorted(forms.patterns(graph)))
        if text not in seen and len(group) >= SMALLEST_GROUP:
            seen.add(text)
            examples += group
    return examples[:number]


def validation_examples(seed: int, number: int) -> list[Example]:
    """Questions on the validation graphs, whole, then on parts of them."""
    rng = random.Random(f"{seed}-validation")
    graphs = list(VALIDATION.values())
    examples: list[Example] = []
    for at in range(number):
        graph = graphs[at % len(graphs)]
        if at >= len(graphs):
            graph = vary(graph, rng, renaming=False)
        examples += _group(graph, f"v{at:05}", 7, rng)
        if len(examples) >= number:
            break
    return examples[:number]


def _train_graph(rng: random.Random, at: int) -> Graph:
    if rng.random() < COMPOSED:
        return compose(rng, at, HELD_OUT)
    return vary(rng.choice(list(TRAIN.values())), rng)


def _group(graph: Graph, name: str, size: int, rng: random.Random) -> Iterator[Example]:
    draw = Draw(graph, rng)
    system = forms.system_message(graph, rng)
    weights = family_weights(graph)
    for at in range(size):
        family = rng.choices(list(weights), list(weights.values()))[0]
        question = ask(draw, family)
        if question is None:
            continue
        text = punctuated(question.text, rng)
        if rng.random() < forms.ONE_MESSAGE:
            user = forms.in_one_message(graph, text, rng).user
            yield Example("", user, question.cypher, f"{name}-{at}", question.category)
        else:
            yield Example(system, text, question.cypher, name, question.category)
