"""Speed of many adapters in one batch on the CPU: P1 to P5 and P13 of benchmarks/README.md.

The base model alone, stock vLLM and vLLM with our plugin are three engines in three processes;
each round gives every one of them its batch, one at a time.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import rich_click as click
from multi_lora_adapters import MEMBERS, Adapters, make_adapters
from multi_lora_report import plot, table
from rich.console import Console
from rounds import Ratio, interleave

from hive_expert.adapters.base_model import DEFAULT, resolve_base
from hive_expert.engine.launch import ADAPTED_MODULES

HERE = Path(__file__).parent
RESULTS = HERE / "results"
RANK = 16
EXPERTS = 8
SLOTS = 10
STEP_TOKENS = 4096
"""Tokens of one step of the engine: every prefill below but the largest is one step."""

progress = Console(stderr=True)


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int
    prefill: int
    """Prompt tokens of each of 8 requests: P1 and P2."""
    decode: int
    """Generated tokens of each of 16 requests: P3."""
    table: bool
    table_rounds: int = 3
    stock_tokens: int = 2048
    """Stock gets no cell of the table with more prompt tokens: each would take minutes."""


QUICK = Sizes(rounds=2, prefill=64, decode=16, table=False)
FULL = Sizes(rounds=6, prefill=256, decode=48, table=True)
BATCHES = (1, 4, 16)
PROMPTS = (32, 512, 2048)


class Engine:
    """A process of `multi_lora_engine.py`."""

    def __init__(
        self, base: Path, log: Path, *, plugins: str, rank: int | None, kernel: str = "auto"
    ) -> None:
        arguments: dict[str, Any] = {
            "model": str(base),
            "dtype": "bfloat16",
            "enforce_eager": True,
            "max_model_len": 2560,
            "max_num_seqs": 32,
            "max_num_batched_tokens": STEP_TOKENS,
            "enable_prefix_caching": False,
        }
        if rank is not None:
            arguments |= {
                "enable_lora": True,
                "max_loras": SLOTS,
                "max_cpu_loras": 4 * SLOTS,
                "max_lora_rank": rank,
                "lora_target_modules": list(ADAPTED_MODULES),
            }
        if plugins:
            arguments["worker_extension_cls"] = "hive_expert.engine.plugin.WorkerExtension"
        environment = os.environ | {
            "VLLM_PLUGINS": plugins,
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_LOGGING_LEVEL": "WARNING",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "HIVE_CPU_KERNEL": kernel,
        }
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, HERE / "multi_lora_engine.py", json.dumps(arguments)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
        )
        self.status = self._answer()

    def run(self, adapters: Sequence[Path | None], prompt: int, tokens: int, **job: Any) -> Any:
        """One batch, a request for each of `adapters`."""
        names = [None if adapter is None else str(adapter) for adapter in adapters]
        question = {"adapters": names, "prompt": prompt, "tokens": tokens, **job}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise click.ClickException(f"an engine died:\n{self._log.read_text()[-3000:]}")
        return json.loads(line)


@dataclass
class Bench:
    """The engines and what they serve."""

    base: Path
    folder: Path
    adapters: Adapters
    sizes: Sizes

    def engine(self, name: str, **kwargs: Any) -> Engine:
        progress.print(f"starting {name} …")
        return Engine(self.base, self.folder / f"{name}.log", **kwargs)


@click.command()
@click.option("--quick", is_flag=True, help="Smaller batches, fewer rounds, no table.")
@click.option("--rounds", type=click.IntRange(min=1), help="Instead of the usual number.")
@click.option("--table-rounds", type=click.IntRange(min=1), help="The same for the table.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    quick: bool, rounds: int | None, table_rounds: int | None, as_json: bool, output: Path
) -> None:
    """Measure P1 to P5 and P13 against stock vLLM of the same version.

    \b
    Examples:
      python benchmarks/multi_lora.py --quick
      python benchmarks/multi_lora.py --json | tail -n 1
    """
    sizes = QUICK if quick else FULL
    sizes = Sizes(
        rounds=rounds or sizes.rounds,
        prefill=sizes.prefill,
        decode=sizes.decode,
        table=sizes.table,
        table_rounds=table_rounds or sizes.table_rounds,
    )
    base = resolve_base(DEFAULT).directory
    with tempfile.TemporaryDirectory(prefix="hive-multi-lora-") as folder:
        adapters = make_adapters(base, Path(folder) / "adapters", RANK)
        bench = Bench(base, Path(folder), adapters, sizes)
        result = measure(bench)
    output.mkdir(parents=True, exist_ok=True)
    name = "multi_lora_quick" if quick else "multi_lora"
    (output / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    plot(result, output / f"{name}.png")
    Console(stderr=as_json, width=110).print(table(result))
    if as_json:
        print(json.dumps(result["figures"]))


def measure(bench: Bench) -> dict[str, Any]:
    """Everything, in two stages, since no more than three engines fit into a small machine."""
    base = bench.engine("base", plugins="", rank=None)
    stock = bench.engine("stock", plugins="", rank=RANK)
    ours = bench.engine("ours", plugins="hive_expert", rank=RANK)
    try:
        rates = measure_figures(bench, base, stock, ours)
        cells = measure_table(bench, base, stock, ours) if bench.sizes.table else []
        memory = measure_memory(bench, stock, ours) if bench.sizes.table else {}
        status = {"base": base.status, "stock": stock.status, "ours": ours.status}
    finally:
        for engine in (base, stock, ours):
            engine.close()
    rates |= measure_composition(bench)
    return {
        "figures": figures(rates),
        "controls": controls(rates),
        "rates": {name: median(values) for name, values in rates.items()},
        "all_rates": rates,
        "table": cells,
        "peak_mib_of_a_4096_token_prefill": memory,
        "sizes": asdict(bench.sizes),
        "machine": machine()
        | {"engines": {name: _without_paths(it) for name, it in status.items()}},
    }


def _without_paths(status: Mapping[str, Any]) -> dict[str, Any]:
    """An engine's account of itself, without where its compiled operator lies on this machine."""
    return {
        key: value.partition(" (")[0] if isinstance(value, str) else value
        for key, value in status.items()
    }


Rates = dict[str, list[float]]
"""Tokens per second by round; "<phase> <subject>"."""


def measure_figures(bench: Bench, base: Engine, stock: Engine, ours: Engine) -> Rates:
    """Each figure's subjects in rounds of their own, close in time to each other."""
    sizes, lora = bench.sizes, bench.adapters.lora
    eight: list[Path | None] = [lora[i % EXPERTS] for i in range(16)]
    gained = [bench.adapters.gained[i % EXPERTS] for i in range(16)]
    engines = {"base": base, "stock": stock, "ours": ours, "ours again": ours}
    given = {"base": [None] * 16, "stock": eight, "ours": eight, "ours again": eight}

    def both(adapters: Sequence[Path | None]) -> Callable[[], Any]:
        return partial(ours.run, adapters, 128, 32)

    prefill = {
        f"prefill {name}": partial(engine.run, given[name][:EXPERTS], sizes.prefill, 1)
        for name, engine in engines.items()
    }
    decode = {
        f"decode {name}": partial(engine.run, given[name], 32, sizes.decode)
        for name, engine in engines.items()
    }
    kinds = {
        "both plain": both(eight),
        "both gained": both(gained),
        "both plain again": both(eight),
    }
    many = {
        "both one of ten": both([lora[0]] * 20),
        "both ten": both([lora[i % 10] for i in range(20)]),
    }
    rates: Rates = {}
    for subjects, rounds in ((prefill, sizes.rounds), (decode, 2 * sizes.rounds)):
        rates |= _rates(interleave(subjects, rounds, tell=progress.print))
    for subjects in (kinds, many):
        rates |= _rates(interleave(subjects, 2 * sizes.rounds, tell=progress.print))
    return rates


def measure_composition(bench: Bench) -> Rates:
    """One engine with slots of a rank that holds the composition."""
    wide = bench.engine("ours, wide", plugins="hive_expert", rank=64)
    try:
        subjects = {
            f"both {name}": partial(wide.run, [directory] * 16, 128, 32)
            for name, directory in (
                ("composed", bench.adapters.composed),
                ("summed rank", bench.adapters.summed_rank),
            )
        }
        return _rates(interleave(subjects, 2 * bench.sizes.rounds, tell=progress.print))
    finally:
        wide.close()


def measure_table(bench: Bench, base: Engine, stock: Engine, ours: Engine) -> list[dict[str, Any]]:
    """Prefill and decode for each size of batch and prompt; distinct experts, eight at most."""
    cells = []
    for batch in BATCHES:
        for prompt in PROMPTS:
            adapters = [bench.adapters.lora[i % EXPERTS] for i in range(batch)]
            subjects = {
                "base": partial(base.run, [None] * batch, prompt, 33),
                "ours": partial(ours.run, adapters, prompt, 33),
            }
            if batch * prompt <= bench.sizes.stock_tokens:
                subjects["stock"] = partial(stock.run, adapters, prompt, 33)
            progress.print(f"table: {batch} x {prompt}")
            measured = interleave(subjects, bench.sizes.table_rounds)
            cell: dict[str, Any] = {"batch": batch, "prompt": prompt}
            for phase, seconds, tokens in PHASES:
                rates = {
                    name: [run[tokens] / run[seconds] for run in runs]
                    for name, runs in measured.items()
                }
                cell[phase] = {name: median(values) for name, values in rates.items()}
                for other in ("base", "stock"):
                    if other in rates:
                        ratio = Ratio.of(rates["ours"], rates[other])
                        cell[phase][f"of {other}"] = asdict(ratio)
            cells.append(cell)
    return cells


def measure_memory(bench: Bench, stock: Engine, ours: Engine) -> dict[str, float]:
    """MiB beyond what the process held before, of one prefill of 2 requests of 2048 tokens."""
    adapters = bench.adapters.lora[:2]
    return {
        name: engine.run(adapters, STEP_TOKENS // 2, 1, memory=True)["peak_mib"]
        for name, engine in (("ours", ours), ("stock", stock))
    }


PHASES = (("prefill", "prefill_s", "prefilled"), ("decode", "decode_s", "decoded"))


def _rates(measured: dict[str, list[dict[str, float]]]) -> Rates:
    rates: Rates = {}
    for subject, runs in measured.items():
        phase, _, name = subject.partition(" ")
        for label, seconds, tokens in PHASES:
            if phase in (label, "both"):
                rates[f"{label} {name}"] = [run[tokens] / run[seconds] for run in runs]
        if phase == "both":
            rates[f"both {name}"] = [
                (run["prefilled"] + run["decoded"]) / (run["prefill_s"] + run["decode_s"])
                for run in runs
            ]
    return rates


def figures(rates: Rates) -> dict[str, Any]:
    """The figures of SPEC section 16 that are measured here."""

    def figure(above: str, below: str, target: float) -> dict[str, Any]:
        ratio = Ratio.of(rates[above], rates[below])
        return asdict(ratio) | {"target": target, "ok": ratio.ratio >= target}

    decode = figure("decode ours", "decode stock", 2.2)
    of_base = figure("decode ours", "decode base", 0.80)
    return {
        "P1": figure("prefill ours", "prefill stock", 10),
        "P2": figure("prefill ours", "prefill base", 0.92),
        "P3": decode | {"of_base": of_base, "ok": decode["ok"] and of_base["ok"]},
        "P4": figure("both gained", "both plain", 0.95),
        "P5": figure("both ten", "both one of ten", 0.95),
        "P13": figure("both composed", "both summed rank", 0.98),
    }


def controls(rates: Rates) -> dict[str, Any]:
    """A/A: the same engine and batch twice in each round; 1 but for noise."""
    pairs = {"prefill": "ours", "decode": "ours", "both": "plain"}
    return {
        phase: asdict(Ratio.of(rates[f"{phase} {name} again"], rates[f"{phase} {name}"]))
        for phase, name in pairs.items()
    }


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
    return {
        "cpu": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "vllm": version("vllm-cpu"),
        "torch": version("torch"),
        "rank": RANK,
        "members": MEMBERS,
    }


if __name__ == "__main__":
    main()
