"""`hive-train compare`: two evaluations, case by case."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hive_expert.cli.terminal import HiveCommand, print_json

if TYPE_CHECKING:
    from hive_expert.training.comparison import Comparison

REPORT = click.Path(exists=True, dir_okay=False, path_type=Path)

COMPARE_EXAMPLES = """
\b
Examples:
  hive-train compare before.json after.json
  hive-train compare report.json report.json --model-a expert-sql --variant-a grammar \\
      --model-b expert-sql --variant-b no-grammar
  hive-train compare lora.json dora.json --fail-on-regression --json
"""


@click.command("compare", cls=HiveCommand, epilog=COMPARE_EXAMPLES)
@click.argument("a", type=REPORT)
@click.argument("b", type=REPORT)
@click.option("--model-a", help="Which model of A; by default the only expert.")
@click.option("--model-b", help="Which model of B; by default the only expert.")
@click.option("--variant-a", help="Which of its variants (grammar, plain-grammar, no-grammar).")
@click.option("--variant-b", help="Which of its variants (grammar, plain-grammar, no-grammar).")
@click.option("--fail-on-regression", is_flag=True, help="Exit 1 when B is clearly worse than A.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare(
    a: Path,
    b: Path,
    model_a: str | None,
    model_b: str | None,
    variant_a: str | None,
    variant_b: str | None,
    fail_on_regression: bool,
    as_json: bool,
) -> None:
    """Compare two reports of `hive-train evaluate --output`, B against A.

    The difference is of pairs, the same case in both, with a 95 % bootstrap interval.
    """
    from hive_expert.training import comparison

    first = comparison.parse_sides(a.read_bytes(), str(a))
    second = comparison.parse_sides(b.read_bytes(), str(b))
    made = comparison.compare(
        comparison.choose_side(first, model_a, variant_a, str(a)),
        comparison.choose_side(second, model_b, variant_b, str(b)),
    )
    if as_json:
        print_json(comparison.as_json(made))
    else:
        _print(made)
    if fail_on_regression and made.difference.high < 0:
        raise SystemExit(1)


def _print(made: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hive_expert.training.comparison import MAX_SHOWN

    out = Console(highlight=False, markup=False, emoji=False)
    rate = made.difference
    low, value, high = (f"{100 * n:+.1f}" for n in (rate.low, rate.value, rate.high))
    judgement = "clear" if made.is_clear else "not clear: the interval holds 0"
    out.print(f"{made.b} less {made.a}, {made.cases} cases: {value} points ({low} to {high})")
    out.print(f"{len(made.better)} better, {len(made.worse)} worse, {made.same} same; {judgement}")
    for side, count in (("A", made.only_a), ("B", made.only_b)):
        if count:
            told = f"{count} cases of {side} are not in the other and do not count"
            out.print(Text(told, "yellow"))
    table = Table("category", "cases", "A", "B", "change")
    for one in made.categories:
        cells = (one.category, one.count, one.before, one.after, f"{one.after - one.before:+}")
        table.add_row(*map(str, cells))
    out.print(table)
    for title, cases in (("worse", made.worse), ("better", made.better)):
        if cases:
            more = f" and {len(cases) - MAX_SHOWN} more" if len(cases) > MAX_SHOWN else ""
            out.print(f"{title}: {', '.join(cases[:MAX_SHOWN])}{more}")
