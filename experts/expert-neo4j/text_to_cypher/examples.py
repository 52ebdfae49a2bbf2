"""Examples of one graph: the mix of questions, and the check of what is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from text_to_sql import patterns_aggregate as aggregate
from text_to_sql import patterns_order as order
from text_to_sql import patterns_single as single
from text_to_sql.draw import Unsuitable
from text_to_sql.examples import check

from hive_expert.training.generated import Asked, ask_new
from text_to_cypher import patterns_count as count
from text_to_cypher import patterns_hop as hop
from text_to_cypher import patterns_path as path
from text_to_cypher import translate
from text_to_cypher.draw import Draw, Question
from text_to_cypher.graph import Graph

Pattern = Callable[[Draw], Question]


def _of_one_label(pattern: Callable[..., object]) -> Pattern:
    """A pattern of expert-sql over one table, in Cypher."""

    def ask_node(draw: Draw) -> Question:
        asked = pattern(draw)
        check(asked, draw.database, False)
        table = asked.query.partition(" FROM ")[2].split()[0]
        node = next(n for n in draw.graph.nodes if n.name == table)
        category = asked.category.replace("single/", "node/").replace("aggregate/", "count/")
        return Question(asked.text, translate.query(asked.query, node), category)

    return ask_node


FAMILIES: dict[str, tuple[tuple[Pattern, int], ...]] = {
    "node": tuple(
        (_of_one_label(pattern), weight)
        for pattern, weight in (
            (single.columns, 6),
            (single.everything, 2),
            (single.filtered, 12),
            (single.filtered_number, 8),
            (single.filtered_choice, 7),
            (single.in_range, 3),
            (single.in_list, 4),
            (single.matching_text, 5),
            (single.empty_value, 5),
            (single.in_time, 6),
            (single.two_filters, 8),
            (single.lookup, 8),
            (single.named_row, 2),
            (order.ordered, 5),
            (order.filtered_ordered, 3),
            (order.superlative, 6),
            (order.top, 6),
            (single.distinct, 4),
        )
    ),
    "hop": (
        (hop.by_name, 30),
        (hop.whole_by_name, 4),
        (hop.by_property, 14),
        (hop.pairs, 10),
        (hop.both_ends, 8),
        (hop.held_property, 8),
        (hop.by_held_property, 8),
        (hop.without, 9),
        (hop.with_any, 7),
        (hop.ordered, 9),
        (count.distinct_values, 3),
    ),
    "count": (
        (_of_one_label(aggregate.count_all), 2),
        (_of_one_label(aggregate.count_filtered), 7),
        (_of_one_label(aggregate.count_distinct), 2),
        (_of_one_label(aggregate.value), 8),
        (_of_one_label(aggregate.count_by), 5),
        (_of_one_label(aggregate.value_by), 5),
        (_of_one_label(aggregate.most_common), 2),
        (count.count_for, 14),
        (count.count_per, 12),
        (count.most, 10),
        (count.having, 9),
        (count.value_for, 9),
        (count.value_per, 6),
    ),
    "path": ((path.chain, 60), (path.chain_filtered, 14), (path.same, 8), (path.both, 12)),
    "loop": (
        (path.loop, 14),
        (path.twice, 4),
        (path.reach, 5),
        (path.shortest, 4),
        (path.mutual, 3),
        (path.loop_count, 5),
    ),
}
"""The patterns of each family with their weights: the mix of questions."""

TAUGHT_MORE: dict[Pattern, int] = {
    hop.held_property: 2,
    hop.by_held_property: 2,
    hop.both_ends: 2,
    hop.with_any: 2,
    path.reach: 2,
}
"""What takes the most practice, so often in training; the test cases keep the plain mix."""

SHARES = {"node": 26, "hop": 32, "count": 21, "path": 14, "loop": 7}
"""Percentages of the families, where the graph has the relationships for them."""


def family_weights(graph: Graph) -> dict[str, int]:
    """Shares of the families in a graph; loops are asked more where they are, paths too."""
    weights = dict(SHARES)
    if not any(r.is_loop for r in graph.relationships):
        del weights["loop"]
    else:
        weights["loop"] *= 2
    tied = {
        n.label_name for r in graph.relationships if not r.is_loop for n in (r.source, r.target)
    }
    weights["path"] = 20 if len(tied) > 2 else 4
    return weights


def ask(draw: Draw, family: str, more: Mapping[Pattern, int] = {}) -> Asked | None:
    """A new question of a family, or None where the graph yields none in bounded tries.

    ``more`` multiplies the weights of patterns.
    """
    patterns = [pattern for pattern, _ in FAMILIES[family]]
    weights = [weight * more.get(pattern, 1) for pattern, weight in FAMILIES[family]]

    def once() -> Asked | None:
        pattern = draw.rng.choices(patterns, weights)[0]
        try:
            question = pattern(draw)
        except (Unsuitable, translate.Untranslatable):
            return None
        return Asked(question.text, question.cypher, question.category)

    return ask_new(once, draw.used)
