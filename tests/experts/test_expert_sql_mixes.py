"""The mixes of expert-sql's data, each without one thing."""

from __future__ import annotations

import random

import pytest
from text_to_sql.corpus import TEST, TRAIN
from text_to_sql.dataset import train_examples
from text_to_sql.examples import FAMILIES, ask, draw_for
from text_to_sql.mix import MIXES, USUAL, Mix, with_bare_columns

from tests.experts.sql_rows import train_sample


def test_the_usual_mix_is_what_ships() -> None:
    assert train_examples(7, 200, MIXES["usual"]) == list(train_sample()[:200])


@pytest.mark.parametrize("name", [name for name in MIXES if name != "usual"])
def test_a_mix_leaves_out_one_thing(name: str) -> None:
    changed = [f for f in ("joins", "one_wording", "bare_columns")
               if getattr(MIXES[name], f) != getattr(USUAL, f)]  # fmt: skip
    assert len(changed) == 1
    assert train_examples(7, 40, MIXES[name]) != train_examples(7, 40)


def test_few_joins_are_few() -> None:
    def share(mix: Mix) -> float:
        rows = train_examples(7, 400, mix)
        return sum(row.category.startswith("join/") for row in rows) / len(rows)

    assert share(USUAL) > 0.2
    assert share(MIXES["few-joins"]) < 0.08


def test_with_one_wording_questions_begin_alike() -> None:
    def beginnings(mix: Mix) -> int:
        rows = train_examples(7, 300, mix)
        return len({row.instruction.split()[0].lower() for row in rows})

    assert beginnings(MIXES["one-wording"]) * 2 < beginnings(USUAL)


def test_bare_columns_find_the_same_rows() -> None:
    rng, bare, asked = random.Random(5), 0, 0
    for schema in (*TRAIN.values(), *TEST.values()):
        draw = draw_for(schema, rng)
        for family in FAMILIES if schema.links else ("single", "aggregate"):
            question = ask(draw, family)
            if question is None:
                continue
            sql = question.answer
            without = with_bare_columns(sql, schema)
            assert draw.database.execute(without) == draw.database.execute(sql), without
            bare += without.count(".") < sql.count(".")
            asked += 1
    assert bare > asked * 0.9


def test_bare_columns_leave_texts_and_shared_names_alone() -> None:
    (schema,) = [s for s in TRAIN.values() if s.links][:1]
    link = schema.links[0]
    child, parent = link.child.name, link.parent.name
    sql = f"SELECT {child}.id FROM {child} JOIN {parent} ON 1 WHERE {child}.x = '{child}.id';"
    assert with_bare_columns(sql, schema) == sql
