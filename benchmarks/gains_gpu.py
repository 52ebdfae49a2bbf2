"""What adapter gains (DoRA, IA3) cost on a GPU: the fused kernel, the torch gather, no gains.

One decoder layer of an 8B model in bfloat16: its four matrices and the gains at each, captured in
a CUDA graph, as vLLM replays a step. What is timed is the code that serves: `GainSlots._apply`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import rich_click as click
import torch
from rich.console import Console
from rich.table import Table
from rounds import Ratio, interleave
from torch import Tensor

RESULTS = Path(__file__).parent / "results"
DEVICE = "cuda"
MATRICES = ((4096, 6144, False), (4096, 4096, True), (4096, 28672, False), (14336, 4096, True))
"""Inputs, outputs, whether there is an input gain: qkv, o, gate_up, down of Llama-3.1-8B."""
SLOTS = 8
TOKENS = (1, 16, 64, 256, 1024, 4096)

progress = Console(stderr=True)


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int
    replays: int
    """Of the graph in one timing."""


QUICK = Sizes(rounds=5, replays=20)
FULL = Sizes(rounds=15, replays=100)

Apply = Callable[..., Tensor]
"""`GainSlots._apply` without its layer: values, factors, addends, slots, in_place."""


class Matrix:
    """One wrapped layer: its weight, and gains in every slot."""

    def __init__(self, inputs: int, outputs: int, scales_input: bool) -> None:
        self.inputs = inputs
        self.weight = torch.randn(outputs, inputs, device=DEVICE, dtype=torch.bfloat16)
        self.weight /= inputs**0.5
        self.gamma = self._table(outputs)
        self.beta = self._table(inputs) if scales_input else None

    def forward(self, x: Tensor, apply: Apply | None, slots: Any) -> Tensor:
        if apply is None:
            return x @ self.weight.T
        if self.beta is not None:
            x = apply(x, self.beta, None, slots, in_place=False)
        return apply(x @ self.weight.T, self.gamma, None, slots, in_place=True)

    @staticmethod
    def _table(width: int) -> Tensor:
        table = torch.randn(SLOTS + 1, width, device=DEVICE, dtype=torch.bfloat16) / 10
        table[-1] = 0
        return table


class Step:
    """One pass over all matrices, for one number of tokens."""

    def __init__(self, matrices: list[Matrix], tokens: int) -> None:
        self._matrices = matrices
        shape = {"device": DEVICE, "dtype": torch.bfloat16}
        self._inputs = [torch.randn(tokens, m.inputs, **shape) for m in matrices]
        self._index = torch.arange(tokens, device=DEVICE) % SLOTS
        self._kept: list[Any] = []
        """What the graphs read at every replay, and the code that they run."""

    def captured(
        self, *, gains: bool, fused: bool = False, compiled: bool = False, idle: bool = False
    ) -> torch.cuda.CUDAGraph:
        """The pass as a graph; `idle`: no token's slot has gains, which only the kernel can use."""
        apply = self._apply(fused, compiled) if gains else None
        flags = torch.full((SLOTS + 1,), not idle, dtype=torch.int8, device=DEVICE)
        slots = SimpleNamespace(flags=flags)
        self._kept += [flags, apply]

        def run() -> None:
            for matrix, x in zip(self._matrices, self._inputs, strict=True):
                matrix.forward(x, apply, slots)

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph

    def _apply(self, fused: bool, compiled: bool) -> Apply:
        from hive_expert.engine.gains import GainSlots
        from hive_expert.engine.gains_triton import apply_gains

        layer = SimpleNamespace(
            by_runs=False,
            fused=apply_gains if fused else None,
            punica_wrapper=SimpleNamespace(_token_lora_indices=self._index),
        )

        def apply(values: Tensor, *rest: Any, in_place: bool) -> Tensor:
            return GainSlots._apply(layer, values, *rest, in_place=in_place)

        return torch.compile(apply, fullgraph=True, dynamic=False) if compiled else apply


def milliseconds(graph: torch.cuda.CUDAGraph, replays: int) -> float:
    """Of one replay."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    graph.replay()
    begin.record()
    for _ in range(replays):
        graph.replay()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / replays


def measure(matrices: list[Matrix], tokens: int, sizes: Sizes) -> dict[str, Any]:
    """Times of every subject and their ratios, for one number of tokens."""
    step = Step(matrices, tokens)
    graphs = {
        "none": step.captured(gains=False),
        "none again": step.captured(gains=False),
        "gather": step.captured(gains=True),
        "compiled gather": step.captured(gains=True, compiled=True),
        "fused": step.captured(gains=True, fused=True),
        "fused, idle": step.captured(gains=True, fused=True, idle=True),
    }
    subjects = {
        name: (lambda graph=graph: milliseconds(graph, sizes.replays))
        for name, graph in graphs.items()
    }
    times = interleave(subjects, sizes.rounds)
    pairs = [(name, "none") for name in graphs if name != "none"]
    pairs += [("gather", "fused"), ("compiled gather", "fused")]
    return {
        "tokens": tokens,
        "milliseconds": {name: median(values) for name, values in times.items()},
        "ratios": {f"{a} ÷ {b}": asdict(Ratio.of(times[a], times[b])) for a, b in pairs},
    }


def table(cells: list[dict[str, Any]]) -> Table:
    shown = Table(title="Time of one decoder layer's matrices with gains (spread)")
    shown.add_column("tokens", justify="right")
    names = list(cells[0]["ratios"])
    for name in names:
        shown.add_column(name, justify="right")
    for cell in cells:
        ratios = [str(Ratio(**cell["ratios"][name])) for name in names]
        shown.add_row(str(cell["tokens"]), *ratios)
    return shown


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rounds and replays.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(quick: bool, as_json: bool, output: Path) -> None:
    """Measure the gains of one decoder layer on a GPU.

    \b
    Examples:
      python benchmarks/gains_gpu.py --quick
      python benchmarks/gains_gpu.py --json | tail -n 1
    """
    if not torch.cuda.is_available():
        raise click.ClickException("this needs a CUDA device")
    torch._dynamo.config.recompile_limit = 1000  # once for each shape
    sizes = QUICK if quick else FULL
    matrices = [Matrix(*shape) for shape in MATRICES]
    cells = []
    for tokens in TOKENS:
        progress.print(f"{tokens} tokens")
        cells.append(measure(matrices, tokens, sizes))
    device = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    result = {"cells": cells, "sizes": asdict(sizes), "machine": device}
    output.mkdir(parents=True, exist_ok=True)
    name = "gains_gpu_quick" if quick else "gains_gpu"
    (output / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    Console(stderr=as_json, width=140).print(table(cells))
    if as_json:
        print(json.dumps(result))


if __name__ == "__main__":
    with torch.inference_mode():
        main()
