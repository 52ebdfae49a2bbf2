"""How exactly the engine serves adapters: its log probabilities against PEFT's own.

One batch mixes base-model requests with LoRA, DoRA and IA3 adapters and compositions; each model
and mode runs in an engine of its own. Prints, for every kind, the largest difference of a log
probability over the whole vocabulary and the number of greedy tokens that differ.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import rich_click as click
import torch
from parity_models import ADAPTERS, BASE, COMPOSITIONS, MODELS, NAMES, VOCABULARY, Bench, Reference
from parity_models import build as build_models
from rich.console import Console
from rich.table import Table

from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.compose import Member, compose_members
from hive_expert.adapters.fit import check_fit
from hive_expert.adapters.peft_format import read_adapter
from hive_expert.adapters.store import AdapterStore, ready_for_engine

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "parity.json"
MAX_RANK = 16
TOKENS = 12

MODES: dict[str, dict[str, object]] = {
    "mixed": {"dtype": "float32", "max_loras": 12},
    "reused slots": {"dtype": "float32", "max_loras": 2},
    "two shards": {"dtype": "float32", "max_loras": 12, "tensor_parallel_size": 2},
    "fully sharded": {
        "dtype": "float32",
        "max_loras": 12,
        "tensor_parallel_size": 2,
        "fully_sharded_loras": True,
    },
    "bfloat16": {"dtype": "bfloat16", "max_loras": 12},
}
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.2}
"""Largest allowed difference of a log probability, in nats, by the engine's dtype.

In bfloat16 these models without any adapter differ from float32 by up to 0.09."""

NEAR_TIE = {"float32": 0.0, "bfloat16": 0.2}
"""A greedy token may fall short of PEFT's best by so much, in nats."""


@dataclass(frozen=True)
class Row:
    """One kind of adapter, in one model and mode."""

    model: str
    mode: str
    kind: str
    difference: float
    """max |log p - log p of PEFT| over all tokens and the vocabulary."""
    mismatches: int
    """Greedy tokens that differ, but for near-ties."""
    tokens: int
    effect: float
    """max |log p of PEFT - log p of the base|: what serving the base instead would show."""
    ok: bool


@click.command()
@click.option("--quick", is_flag=True, help="Two models, without sharding and bfloat16.")
@click.option("--model", "models", multiple=True, type=click.Choice(list(MODELS)))
@click.option("--mode", "modes", multiple=True, type=click.Choice(list(MODES)))
@click.option("--json", "as_json", is_flag=True, help="The result as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    quick: bool, models: tuple[str, ...], modes: tuple[str, ...], as_json: bool, output: Path
) -> None:
    """Compare served log probabilities with PEFT's.

    \b
    Examples:
      python benchmarks/parity.py --quick
      python benchmarks/parity.py --model llama --mode "two shards" --json
    """
    # Models this small only lose by threads, and much where other work wants the cores.
    torch.set_num_threads(1)
    models = models or (("qwen3", "qwen2") if quick else tuple(MODELS))
    modes = modes or (("reused slots",) if quick else tuple(MODES))
    progress = Console(stderr=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="hive-parity-") as folder:
        os.environ["HIVE_HOME"] = folder
        for model in models:
            bench = build_models(model, Path(folder) / model)
            reference = Reference(bench)
            for mode in modes:
                progress.print(f"{model}, {mode} …")
                rows += compare(model, mode, bench, reference)
    result = summary(rows)
    Console(stderr=as_json, width=110).print(table(rows))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    if as_json:
        print(json.dumps({"parity": result["parity"]}))


def compare(model: str, mode: str, bench: Bench, reference: Reference) -> list[Row]:
    """Serve one batch and compare every answer."""
    requests = mixed_batch()
    answers = serve(bench, mode, requests)
    dtype = str(MODES[mode]["dtype"])
    return [
        compare_kind(
            model,
            mode,
            name,
            dtype,
            [(p, a) for (n, p), a in zip(requests, answers, strict=True) if n == name],
            reference,
        )
        for name in NAMES
    ]


def compare_kind(
    model: str,
    mode: str,
    name: str,
    dtype: str,
    served: list[tuple[list[int], tuple[list[int], torch.Tensor]]],
    reference: Reference,
) -> Row:
    difference = effect = 0.0
    mismatches = tokens = 0
    for prompt, (answer, logprobs) in served:
        expected = reference.logprobs(name, prompt, answer)
        unadapted = reference.logprobs(BASE, prompt, answer)
        difference = max(difference, float((logprobs - expected).abs().max()))
        effect = max(effect, float((expected - unadapted).abs().max()))
        chosen = expected.gather(1, torch.tensor(answer)[:, None])[:, 0]
        mismatches += int((expected.max(dim=1).values - chosen > NEAR_TIE[dtype]).sum())
        tokens += len(answer)
    ok = difference < TOLERANCE[dtype] and mismatches == 0
    return Row(model, mode, name, difference, mismatches, tokens, effect, ok)


def mixed_batch() -> list[tuple[str, list[int]]]:
    """Requests (adapter, prompt), shuffled; all get one prompt in common, for caches to mix."""
    rng = random.Random(1)

    def prompt() -> list[int]:
        return [rng.randrange(3, VOCABULARY) for _ in range(rng.randrange(5, 40))]

    shared = [rng.randrange(3, VOCABULARY) for _ in range(40)]
    requests = [(name, prompt()) for _ in range(2) for name in NAMES]
    requests += [(name, shared) for name in NAMES]
    rng.shuffle(requests)
    return requests


def serve(
    bench: Bench, mode: str, requests: list[tuple[str, list[int]]]
) -> list[tuple[list[int], torch.Tensor]]:
    """Tokens and log probabilities of each request, by an engine in its own process."""
    paths = prepare(bench)
    job = {
        "engine": {
            "model": str(bench.base),
            "max_lora_rank": MAX_RANK,
            "max_cpu_loras": 2 * len(NAMES),
            "max_model_len": 256,
            "max_num_seqs": 16,
            **MODES[mode],
        },
        "vocabulary": VOCABULARY,
        "tokens": TOKENS,
        "requests": [
            [str(paths[name]) if name in paths else None, NAMES.index(name), prompt]
            for name, prompt in requests
        ],
    }
    with tempfile.TemporaryDirectory(dir=bench.root) as folder:
        question, answer = Path(folder) / "job.json", Path(folder) / "answers.pt"
        question.write_text(json.dumps(job))
        sharded = "tensor_parallel_size" in MODES[mode]
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "VLLM_CPU_OMP_THREADS_BIND": "0|1" if sharded else "nobind",
        }
        done = subprocess.run(
            [sys.executable, HERE / "parity_engine.py", question, answer],
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise click.ClickException(f"the engine failed:\n{done.stderr[-4000:]}")
        found = torch.load(answer, weights_only=True)
    if any(status["gains"] != "active" for status in found["status"]):
        raise click.ClickException(f"the plugin is not active: {found['status']}")
    return [(tokens, logprobs) for tokens, logprobs in found["answers"]]


def prepare(bench: Bench) -> dict[str, Path]:
    """What the engine loads for each adapter and composition, made as the server makes it."""
    base, store = BaseWeights(bench.base), AdapterStore.default()
    paths: dict[str, Path] = {}
    for name in ADAPTERS:
        adapter = read_adapter(bench.adapter(name))
        check_fit(adapter, base.shapes, MAX_RANK)
        paths[name] = ready_for_engine(adapter, name, base, store)
    for name, parts in COMPOSITIONS.items():
        members = [Member(part, paths[part], weight) for part, weight in parts.items()]
        paths[name] = compose_members(members, base, store, max_rank=MAX_RANK).directory
    return paths


def summary(rows: list[Row]) -> dict[str, object]:
    exact = [r.difference for r in rows if r.mode != "bfloat16"]
    return {
        "parity": {
            "max_difference_float32": max(exact, default=None),
            "mismatches": sum(r.mismatches for r in rows),
            "target": TOLERANCE["float32"],
            "ok": all(r.ok for r in rows),
        },
        "rows": [asdict(r) for r in rows],
    }


def table(rows: list[Row]) -> Table:
    shown = Table(title="Served log probabilities against PEFT's own")
    for heading in ("model", "mode", "kind", "max |Δ log p|", "greedy mismatches", "effect", ""):
        shown.add_column(heading, no_wrap=True)
    for row in rows:
        shown.add_row(
            row.model,
            row.mode,
            row.kind,
            f"{row.difference:.1e}",
            f"{row.mismatches} of {row.tokens}",
            f"{row.effect:.2f}",
            "ok" if row.ok else "[red]no[/]",
        )
    return shown


if __name__ == "__main__":
    main()
