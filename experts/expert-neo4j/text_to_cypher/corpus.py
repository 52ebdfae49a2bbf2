"""The hand-written graphs, by split. No label of the test or validation graphs is in training."""

from __future__ import annotations

from text_to_cypher import resources
from text_to_cypher.graph import Graph, parse_graphs

TRAIN: dict[str, Graph] = parse_graphs(resources.text("graphs-train.txt"))
VALIDATION: dict[str, Graph] = parse_graphs(resources.text("graphs-validation.txt"))
TEST: dict[str, Graph] = parse_graphs(resources.text("graphs-test.txt"))

HELD_OUT: frozenset[str] = frozenset().union(
    *(g.labels for g in (*TEST.values(), *VALIDATION.values()))
)
"""Labels that no training graph may have."""
