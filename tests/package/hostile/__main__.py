"""`python -m tests.package.hostile`: try every malicious package, print a table by class."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from importlib import import_module

import numpy  # noqa: F401  # loaded here, it does not count as memory of the first package
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.package.hostile.attack import CLASSES
from tests.package.hostile.trial import Outcome, distinct, try_class

MODULES = (
    "kinds",
    "names",
    "headers",
    "container",
    "damage",
    "manifests",
    "hashes",
    "signatures",
    "keys",
    "trust",
    "configurations",
    "weights",
    "prompts",
    "texts",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    parser.add_argument("--only", default="", help="classes whose name holds this text")
    options = parser.parse_args()
    for module in MODULES:
        import_module(f"tests.package.hostile.{module}")
    chosen = [attacks for attacks in CLASSES if options.only in attacks.name]
    errors = Console(stderr=True)
    outcomes = [
        try_class(attacks)
        for attacks in track(chosen, "trying", console=errors, disable=options.json)
    ]
    if options.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes]))
    else:
        _print(outcomes)
    return 0 if all(outcome.held for outcome in outcomes) else 1


def _print(outcomes: list[Outcome]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 110)
    table = Table("class of attacks", "count", "accepted", "worst ms", "worst MiB")
    for column in table.columns[1:]:
        column.justify = "right"
    for outcome in outcomes:
        row = (
            outcome.name,
            len(outcome.digests),
            len(outcome.accepted),
            f"{outcome.worst_ms:.0f}",
            f"{outcome.worst_mib:.1f}",
        )
        table.add_row(*map(str, row), style="" if outcome.held else "red")
    table.add_section()
    total = sum(len(outcome.digests) for outcome in outcomes)
    table.add_row(
        f"{len(outcomes)} classes, {distinct(outcomes)} distinct packages",
        str(total),
        str(sum(len(outcome.accepted) for outcome in outcomes)),
        f"{max(outcome.worst_ms for outcome in outcomes):.0f}",
        f"{max(outcome.worst_mib for outcome in outcomes):.1f}",
    )
    console.print(table)
    for outcome in outcomes:
        for what in ("accepted", "crashed", "without_reason", "left_traces"):
            for label in getattr(outcome, what):
                console.print(f"{outcome.name}: {label}: {what}", markup=False, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
