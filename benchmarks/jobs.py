"""What batches cost others, what keeping them costs, and what replicas gain: P15 to P18 of
benchmarks/README.md."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jobs_affinity
import jobs_rate
import jobs_replicas
import jobs_ttft
import rich_click as click
from rich.console import Console
from serving import figures_of, machine, store
from serving_bench import Bench, end_as_usual_on_sigterm, progress
from serving_figures import Finding
from serving_report import plot, table

from hive_expert.adapters.base_model import DEFAULT, resolve_base

RESULTS = Path(__file__).parent / "results"

PARTS: dict[str, Callable[[Bench], Finding]] = {
    "P15": jobs_ttft.measure,
    "P16": jobs_rate.measure,
    "P17": jobs_replicas.measure,
    "P18": jobs_affinity.measure,
}


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rounds and requests.")
@click.option("--only", type=click.Choice(list(PARTS)), help="The stored result keeps the others.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(quick: bool, only: str | None, as_json: bool, output: Path) -> None:
    """Measure batches and replicas; writes jobs.json and jobs.png (quick: jobs_quick).

    \b
    Examples:
      python benchmarks/jobs.py --quick
      python benchmarks/jobs.py --only P15 --json | tail -n 1
    """
    end_as_usual_on_sigterm()
    output.mkdir(parents=True, exist_ok=True)
    file = output / ("jobs_quick.json" if quick else "jobs.json")
    base = resolve_base(DEFAULT).directory
    measured: dict[str, Any] = {}
    for name in (only,) if only else tuple(PARTS):
        with tempfile.TemporaryDirectory(prefix="hive-jobs-") as folder:
            before = os.getloadavg()[0]
            finding = PARTS[name](Bench(base, Path(folder), quick))
        measured[name] = asdict(finding) | {"machine": machine(), "load_before": before}
        store(file, {name: measured[name]})
    figures = figures_of(measured)
    plot(figures_of(json.loads(file.read_text())), file.with_suffix(".png"))
    Console(stderr=True, width=110).print(table(figures, "Jobs"))
    for name, part in measured.items():
        progress.print(f"{name}:", json.dumps(part["beside"], indent=1))
    if as_json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
