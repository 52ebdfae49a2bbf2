"""What each shipped expert should reach, and what a report of `hive-train evaluate` says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hive_expert.training.intervals import Rate, bootstrap

Measure = str
"""`correct`, `valid` or `fields` of a report, or `correct:PREFIX` over the categories of a name."""


@dataclass(frozen=True)
class Claim:
    """A measure of one expert, in words and with what it should reach."""

    expert: str
    measure: Measure
    means: str
    target: float
    variant: str = "grammar"

    def __str__(self) -> str:
        return f"{self.expert}: {self.means}"


CLAIMS = (
    Claim("expert-sql", "correct", "the same rows from SQLite", 0.60),
    Claim("expert-sql", "correct:single/", "the same, of one table", 0.75),
    Claim("expert-sql", "correct:join/", "the same, of joins", 0.35),
    Claim("expert-sql", "correct:other-hand/", "the same, questions by another hand", 0.60),
    Claim("expert-sql", "valid", "executes", 0.95),
    Claim("expert-json", "valid", "valid under the prompt's schema, bound to it", 1.0),
    Claim("expert-json", "valid", "valid, without a grammar", 0.95, "no-grammar"),
    Claim("expert-json", "fields", "fields right", 0.80),
    Claim("expert-neo4j", "correct", "the expected query, up to names and order", 0.75),
    Claim("expert-typescript", "valid", "parses", 0.80),
    Claim("expert-typescript", "correct", "types right, tests pass", 0.60),
)


def figures_of(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every claim that a report tells of, by `expert: what it means`.

    ``ratio`` is the share of cases (for ``fields`` the mean share of fields), with its 95 %
    bootstrap interval; ``base`` the same of the base model, in the variant that serves it best.
    """
    found = {
        str(claim): _figure(claim, reports[claim.expert])
        for claim in CLAIMS
        if claim.expert in reports
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def _figure(claim: Claim, report: Mapping[str, Any]) -> dict[str, Any] | None:
    """None where the report is older than the measure, or without the variant."""
    standings = report["standings"]
    own = [s for s in standings if (s["model"], s["variant"]) == (claim.expert, claim.variant)]
    rate = _rate(own[0], claim.measure) if own else None
    if rate is None:
        return None
    bases = [_rate(s, claim.measure) for s in standings if s["model"] != claim.expert]
    return {
        "ratio": rate.value,
        "low": rate.low,
        "high": rate.high,
        "cases": rate.count,
        "base": max((base.value for base in bases if base is not None), default=None),
        "target": claim.target,
        "ok": rate.value >= claim.target,
    }


def _rate(standing: Mapping[str, Any], measure: Measure) -> Rate | None:
    name, _, prefix = measure.partition(":")
    if not prefix:
        told = standing.get(name)
        return Rate(**told) if told else None
    outcomes = standing.get("outcomes", ())
    chosen = [o["correct"] for o in outcomes if o["category"].startswith(prefix)]
    return bootstrap(chosen) if chosen else None
