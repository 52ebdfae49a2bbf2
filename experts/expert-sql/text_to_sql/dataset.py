"""Training and validation examples, from one seed."""

from __future__ import annotations

import random

from hive_expert.training.generated import Asked, Example, ask_group, gather, weighted
from text_to_sql import forms
from text_to_sql.compose import compose
from text_to_sql.corpus import HELD_OUT, TRAIN, VALIDATION
from text_to_sql.examples import ask, draw_for, family_weights
from text_to_sql.mix import USUAL, Mix, with_bare_columns
from text_to_sql.schema import Schema
from text_to_sql.variants import vary

COMPOSED = 0.55
"""Share of training schemas that are composed; the others vary the hand-written ones."""
SMALLEST_GROUP = 4


def train_examples(seed: int, number: int, mix: Mix = USUAL) -> list[Example]:
    """Groups of up to eight questions, each group on a schema text of its own."""
    rng = random.Random(f"{seed}-train")

    def group(at: int) -> tuple[str, list[Example]]:
        schema = _train_schema(rng, at)
        rows = _group(schema, f"t{at:05}", rng.randint(6, 8), rng, mix)
        return "\n".join(forms.bare(t) for t in schema.tables), rows

    return gather(number, group, SMALLEST_GROUP)


def validation_examples(seed: int, number: int) -> list[Example]:
    """Questions on the validation schemas, whole, then on parts of them."""
    rng = random.Random(f"{seed}-validation")
    schemas = list(VALIDATION.values())

    def group(at: int) -> tuple[str, list[Example]]:
        schema = schemas[at % len(schemas)]
        if at >= len(schemas):
            schema = vary(schema, rng, renamed=False)
        return f"{at}", _group(schema, f"v{at:05}", 7, rng)

    return gather(number, group)


def _train_schema(rng: random.Random, at: int) -> Schema:
    if rng.random() < COMPOSED:
        return compose(rng, at, HELD_OUT)
    return vary(rng.choice(list(TRAIN.values())), rng)


def _group(
    schema: Schema, name: str, size: int, rng: random.Random, mix: Mix = USUAL
) -> list[Example]:
    draw = draw_for(schema, rng, one_wording=mix.one_wording)
    weights = family_weights(schema, mix.joins)

    def asked() -> Asked | None:
        question = ask(draw, weighted(rng, weights))
        if question is None:
            return None
        answer = question.answer
        if mix.bare_columns:
            answer = with_bare_columns(answer, schema)
        return Asked(forms.punctuated(question.text, rng), answer, question.category)

    def alone(question: str) -> str | None:
        if rng.random() >= forms.ONE_MESSAGE:
            return None
        return forms.in_one_message(schema, question, rng).user

    system = forms.system_message(schema, rng)
    return list(ask_group(name, size, system, asked, alone))
