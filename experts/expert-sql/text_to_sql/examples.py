"""Examples of one schema: questions asked, answers executed, those that tell nothing dropped."""

from __future__ import annotations

import random
from collections.abc import Callable

from hive_expert.training.generated import Asked, ask_new
from text_to_sql import patterns_aggregate as aggregate
from text_to_sql import patterns_join as join
from text_to_sql import patterns_join_groups as join_groups
from text_to_sql import patterns_order as order
from text_to_sql import patterns_single as single
from text_to_sql import patterns_subquery as subquery
from text_to_sql import patterns_three_tables as three
from text_to_sql.database import Database, Rows
from text_to_sql.draw import Draw, Question, Unsuitable
from text_to_sql.schema import Schema

Pattern = Callable[[Draw], Question]

FAMILIES: dict[str, tuple[tuple[Pattern, int], ...]] = {
    "single": (
        (single.columns, 8),
        (single.everything, 2),
        (single.filtered, 10),
        (single.filtered_number, 9),
        (single.filtered_choice, 7),
        (single.in_range, 3),
        (single.in_list, 4),
        (single.matching_text, 4),
        (single.empty_value, 9),  # most schemas have no column for it
        (single.in_time, 6),
        (single.two_filters, 8),
        (single.lookup, 8),
        (single.named_row, 2),
        (order.ordered, 6),
        (order.filtered_ordered, 4),
        (order.superlative, 6),
        (order.top, 6),
        (single.distinct, 4),
    ),
    "aggregate": (
        (aggregate.count_all, 3),
        (aggregate.count_filtered, 10),
        (aggregate.count_distinct, 3),
        (aggregate.value, 12),
        (aggregate.extremes, 2),
        (aggregate.count_by, 9),
        (aggregate.value_by, 9),
        (aggregate.count_by_ordered, 2),
        (aggregate.most_common, 4),
        (aggregate.having_count, 4),
        (aggregate.having_average, 2),
        (aggregate.top_average, 2),
    ),
    "join": (
        (join.side_by_side, 12),
        (join.by_named_parent, 12),
        (join.by_parent_condition, 12),
        (join.parents_by_child, 8),
        (join.parent_of_named, 9),
        (join.filters_on_both, 4),
        (join_groups.count_for, 7),
        (join_groups.value_for, 5),
        (join_groups.count_per, 8),
        (join_groups.value_per, 6),
        (join_groups.having_children, 4),
        (join_groups.most_children, 4),
        (join.top_child, 4),
        (join.ordered_pairs, 3),
        (three.across, 8),
        (three.both_sides, 6),
        (three.up_the_chain, 8),
    ),
    "subquery": (
        (subquery.beside_average, 12),
        (subquery.at_extreme, 4),
        (subquery.beside_named, 5),
        (subquery.without_children, 7),
        (subquery.with_children, 4),
        (subquery.without_such_children, 3),
    ),
}
"""The patterns of each family with their weights: the mix of questions."""


def family_weights(schema: Schema, joins: int = 36) -> dict[str, int]:
    """Shares of the families in training, in a hundred.

    Joins are asked more often where they can be, since a fifth of the schemas has one table.
    """
    if not schema.links:
        return {"single": 68, "aggregate": 22, "subquery": 10}
    return {"single": 77 - joins, "aggregate": 13, "join": joins, "subquery": 10}


def draw_for(
    schema: Schema, rng: random.Random, even: bool = False, one_wording: bool = False
) -> Draw:
    return Draw(Database(schema, rng, even), rng, one_wording=one_wording)


def ask(draw: Draw, family: str, strict: bool = False) -> Asked | None:
    """A new question of a family, or None where the schema yields none in bounded tries."""
    patterns, weights = zip(*FAMILIES[family], strict=True)

    def once() -> Asked | None:
        pattern = draw.rng.choices(patterns, weights)[0]
        try:
            question = pattern(draw)
            check(question, draw.database, strict)
        except Unsuitable:
            return None
        return Asked(question.text, question.sql, question.category)

    return ask_new(once, draw.used)


def check(question: Question, database: Database, strict: bool) -> None:
    """Refuse an answer that tells nothing.

    An answer tells something when it has rows, and not only NULL or 0 in them. `strict`, for
    tests, also wants an answer that is hard to hit by accident: not one row many times, and
    another result without the filter.

    Raises:
        Unsuitable: The answer tells nothing, or another answer is as right.
        sqlite3.Error: The pattern wrote wrong SQL, which is a bug of the pattern.
    """
    rows = database.execute(question.query)
    if not any(value not in (None, 0) for row in rows for value in row):
        raise Unsuitable
    if question.ties:
        ties = database.execute(question.ties)
        if len(set(ties)) < len(ties):
            raise Unsuitable
    monotonous = len(rows) > 1 and len(set(rows)) == 1
    if strict and (monotonous or _same_without_filter(question.query, rows, database)):
        raise Unsuitable


def _same_without_filter(query: str, rows: Rows, database: Database) -> bool:
    head, where, tail = query.partition(" WHERE ")
    if not where:
        return False
    keyword = next((k for k in (" GROUP BY ", " ORDER BY ") if k in tail), "")
    if keyword and "(SELECT" not in tail:
        head += keyword + tail.partition(keyword)[2]
    return sorted(map(repr, database.execute(head))) == sorted(map(repr, rows))
