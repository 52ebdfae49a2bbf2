"""Names of what `hive-train evaluate` measures, as `evaluation` in a manifest may use them."""

from __future__ import annotations

SHARES = ("correct", "valid", "clean", "fields")
"""Shares of the cases, or of the fields asked for."""

SCORED = (
    "sql_execution",
    "json_schema",
    "cypher_structure",
    "typescript_tests",
    "exact_match",
)
"""How a file of cases is scored: as a metric, the share that is correct by it."""


def share_of(metric: str) -> str:
    """Which share a metric is."""
    return "correct" if metric in SCORED else metric
