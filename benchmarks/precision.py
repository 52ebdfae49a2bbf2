"""What `--dtype` costs on this processor: float32 beside bfloat16, on a CPU.

A server of each as users start it; one works at a time, after a pause in which the other falls
asleep. The figures are ratios to bfloat16; `hive-serve --dtype auto` takes float32 where torch has
no matrix products in bfloat16 for the processor (`engine/precision.py`), which is told beside them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import rich_click as click
from executor import EXPERTS, Round, numbers, once
from rounds import Ratio, interleave
from serving import machine
from serving_bench import Bench, end_as_usual_on_sigterm, progress
from serving_client import Client
from serving_experts import names, packed

from hive_expert.adapters.base_model import DEFAULT, resolve_base
from hive_expert.engine.precision import computes_16_bits

RESULTS = Path(__file__).parent / "results" / "precision.json"
SINGLE, HALF = "float32", "bfloat16"


@click.command()
@click.option("--quick", is_flag=True, help="One round instead of three.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(quick: bool, as_json: bool, output: Path) -> None:
    """Measure both precisions on this processor.

    \b
    Examples:
      python benchmarks/precision.py --quick
      python benchmarks/precision.py --json | tail -n 1
    """
    end_as_usual_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="hive-precision-") as folder:
        raw = measure(Bench(resolve_base(DEFAULT).directory, Path(folder), quick))
    figures = found(raw)
    told = {"computes_16_bits": computes_16_bits()}
    if not quick:
        stored = {"figures": figures, "raw": numbers(raw), "machine": machine() | told}
        output.write_text(json.dumps(stored, indent=2) + "\n")
    progress.print(told)
    for name, figure in figures.items():
        progress.print(f"{name}: {figure['ratio']:.3f} ({figure['low']:.3f}…{figure['high']:.3f})")
    if as_json:
        print(json.dumps(figures))


def measure(bench: Bench) -> Mapping[str, list[Round]]:
    experts = names(EXPERTS)
    folder = bench.made("experts")
    packed(bench, folder, experts)
    subjects: dict[str, Callable[[], Round]] = {}
    with ExitStack() as stack:
        for dtype in (SINGLE, HALF):
            server = stack.enter_context(bench.hive(folder, "--dtype", dtype))
            client = stack.enter_context(Client(server.api))
            subjects[dtype] = partial(once, client, psutil.Process(server.process.pid), experts)
            subjects[dtype]()
        subjects[f"{HALF} again"] = subjects[HALF]
        return interleave(subjects, 1 if bench.quick else 3, tell=progress.print)


def found(raw: Mapping[str, list[Round]]) -> dict[str, dict[str, Any]]:
    """Each measure, divided by that of bfloat16 in the same round."""
    return {
        f"{measure}: {name} ÷ {HALF}": asdict(
            Ratio.of(
                [getattr(one, measure) for one in rounds],
                [getattr(one, measure) for one in raw[HALF]],
            )
        )
        for measure in Round.__annotations__
        for name, rounds in raw.items()
        if name != HALF
    }


if __name__ == "__main__":
    main()
