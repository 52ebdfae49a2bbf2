"""Prints an evaluation for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hive_expert.training.evaluation_report import EvaluationReport, Standing
from hive_expert.training.intervals import Rate

VALID_MEANS = {
    "sql_execution": "runs",
    "json_schema": "valid",
    "cypher_structure": "in schema",
    "typescript_tests": "parses",
    "exact_match": "parses",
}


def print_report(report: EvaluationReport) -> None:
    """Scores, categories and expert against base, on stdout."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(_standings(report))
    console.print(_categories(report))
    for duel in report.duels:
        console.print(
            f"{duel.expert} ({duel.expert_variant}) against {duel.base} ({duel.base_variant}): "
            f"{duel.wins} won, {duel.losses} lost, {duel.ties} equal; "
            f"win rate {_rate(duel.win_rate)}"
        )
    for threshold in report.thresholds:
        told = "met" if threshold.met else "[red]below[/]"
        measured, least = f"{threshold.value:.1%}", f"{threshold.least:.1%}"
        console.print(f"threshold of {threshold.metric}: {measured} of at least {least}, {told}")
    if any(standing.errors for standing in report.standings):
        console.print(Text("some requests failed: they count as wrong answers", "red"))


def _standings(report: EvaluationReport) -> Table:
    table = Table(title=f"{report.cases} cases, {report.metric} (95 % interval)")
    table.add_column("model")
    table.add_column("variant")
    named = {"valid": VALID_MEANS[report.metric]}
    headings = [named.get(share, share) for share in report.shares]
    for heading in (*headings, "errors", "s", "tokens"):
        table.add_column(heading, justify="right")
    for one in report.standings:
        table.add_row(
            one.model,
            one.variant,
            *(_share(one, share) for share in report.shares),
            str(one.errors),
            f"{one.median_seconds:.2f}",
            f"{one.mean_tokens:.0f}",
        )
    return table


def _categories(report: EvaluationReport) -> Table:
    table = Table(title="correct by category")
    table.add_column("category")
    table.add_column("cases", justify="right")
    for one in report.standings:
        table.add_column(f"{one.model}\n{one.variant}", justify="right")
    for index, category in enumerate(report.standings[0].categories):
        cells = [_correct(one, index) for one in report.standings]
        table.add_row(category.category, str(category.count), *cells)
    return table


def _correct(standing: Standing, index: int) -> str:
    return str(standing.categories[index].correct)


def _share(standing: Standing, share: str) -> str:
    rate: Rate | None = getattr(standing, share)
    if rate is None:
        return ""
    return _rate(rate) if share == "correct" else f"{rate.value:.0%}"


def _rate(rate: Rate) -> str:
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"
