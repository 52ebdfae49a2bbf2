"""Training and validation examples, from one seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from text_to_sql import forms
from text_to_sql.compose import compose
from text_to_sql.corpus import HELD_OUT, TRAIN, VALIDATION
from text_to_sql.examples import Example, ask, draw_for, family_weights
from text_to_sql.schema import Schema
from text_to_sql.variants import vary

COMPOSED = 0.55
"""Share of training schemas that are composed; the others vary the hand-written ones."""
SMALLEST_GROUP = 4


def train_examples(seed: int, number: int) -> list[Example]:
    """Groups of up to eight questions, each group on a schema text of its own.

    The questions of a group stand together, since the trainer encodes their common system
    message once. Asking for more examples does not change the first ones.
    """
    rng = random.Random(f"{seed}-train")
    examples: list[Example] = []
    seen: set[str] = set()
    for at in range(number):  # more groups than are ever needed
        if len(examples) >= number:
            break
        schema = _train_schema(rng, at)
        group = list(_group(schema, f"t{at:05}", rng.randint(6, 8), rng))
        text = "\n".join(forms.bare(t) for t in schema.tables)
        if text not in seen and len(group) >= SMALLEST_GROUP:
            seen.add(text)
            examples += group
    return examples[:number]


def validation_examples(seed: int, number: int) -> list[Example]:
    """Questions on the validation schemas, whole, then on parts of them."""
    rng = random.Random(f"{seed}-validation")
    schemas = list(VALIDATION.values())
    examples: list[Example] = []
    for at in range(number):
        schema = schemas[at % len(schemas)]
        if at >= len(schemas):
            schema = vary(schema, rng, renamed=False)
        examples += _group(schema, f"v{at:05}", 7, rng)
        if len(examples) >= number:
            break
    return examples[:number]


def _train_schema(rng: random.Random, at: int) -> Schema:
    if rng.random() < COMPOSED:
        return compose(rng, at, HELD_OUT)
    return vary(rng.choice(list(TRAIN.values())), rng)


def _group(schema: Schema, name: str, size: int, rng: random.Random) -> Iterator[Example]:
    draw = draw_for(schema, rng)
    system = forms.system_message(schema, rng)
    weights = family_weights(schema)
    for at in range(size):
        family = rng.choices(list(weights), list(weights.values()))[0]
        question = ask(draw, family)
        if question is None:
            continue
        text = forms.punctuated(question.text, rng)
        if rng.random() < forms.ONE_MESSAGE:
            user = forms.in_one_message(schema, text, rng).user
            yield Example("", user, question.sql, f"{name}-{at}", question.category)
        else:
            yield Example(system, text, question.sql, name, question.category)
