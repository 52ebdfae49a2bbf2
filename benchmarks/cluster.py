"""A hundred replicas and ten thousand experts, simulated: for README, "More than one machine"."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cluster_scenarios as scenarios
import rich_click as click
from cluster_checks import all_checks
from cluster_costs import SOURCES, measured
from cluster_report import figures, plot, tables
from cluster_scenarios import FULL, QUICK, World
from rich.console import Console

RESULTS = Path(__file__).parent / "results"
progress = Console(stderr=True, width=110)


def simulated(quick: bool) -> dict[str, Any]:
    """Everything that the plan has numbers of; the same each time."""
    world = World(measured(), QUICK if quick else FULL, tell=progress.print)
    site = world.site()
    by_policy = scenarios.policies(world)
    progress.print("theory")
    return {
        "costs": asdict(world.costs),
        "sources": SOURCES,
        "site": asdict(site) | {"capacity": scenarios.capacity(site, world.demand(site))},
        "demand": asdict(world.demand(site)),
        "checks": [
            asdict(check) | {"off": check.off} for check in all_checks(20_000 if quick else 60_000)
        ],
        "policies": by_policy,
        "limits": scenarios.limits(world, by_policy),
        "skew": scenarios.skews(world),
        "memory": scenarios.memories(world),
        "slots": scenarios.slots(world),
        "max_ongoing_requests": scenarios.rooms(world),
        "failure": scenarios.failures(world),
        "speed": scenarios.speeds(world),
        "P18": scenarios.small(world),
    }


@click.command()
@click.option("--quick", is_flag=True, help="20 replicas and 2,000 experts; a minute or two.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(quick: bool, as_json: bool, output: Path) -> None:
    """Simulate; writes cluster.json and cluster.png (quick: cluster_quick).

    \b
    Examples:
      python benchmarks/cluster.py --quick
      python benchmarks/cluster.py --json | tail -n 1
    """
    began = time.monotonic()
    result = simulated(quick)
    output.mkdir(parents=True, exist_ok=True)
    file = output / ("cluster_quick.json" if quick else "cluster.json")
    file.write_text(json.dumps(result, indent=1) + "\n")
    plot(result, file.with_suffix(".png"))
    for table in tables(result):
        progress.print(table)
    progress.print(f"{time.monotonic() - began:.0f} s")
    if as_json:
        print(json.dumps(figures(result)))


if __name__ == "__main__":
    main()
