"""How exactly the engine serves adapters: its log probabilities against PEFT's own.

One batch mixes base-model requests with LoRA, DoRA and IA3 adapters, soft prompts and compositions;
each model and mode runs in an engine of its own. Prints, for every kind, the largest difference of
a log probability over the whole vocabulary and the number of greedy tokens that differ.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import rich_click as click
import torch
from parity_models import BASE, MODELS, Bench, Reference, build
from parity_prepare import PLACEHOLDER, make_ready, virtual_tokens
from parity_smollm2 import build_smollm2
from rich.console import Console
from rich.table import Table

from hive_expert.adapters.base_model import resolve_base
from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.compose import Member, compose_members
from hive_expert.adapters.store import AdapterStore

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "parity.json"
MAX_RANK = 16

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
SMOLLM2 = "smollm2"
SMOLLM2_MODES = ("mixed", "reused slots", "bfloat16")
"""Its nine heads cannot be divided by two."""

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.2}
"""Largest allowed difference of a log probability, in nats, by the engine's dtype.

In bfloat16 the tiny models without any adapter differ by up to 0.09."""

SMOLLM2_TOLERANCE = TOLERANCE | {"bfloat16": 1.2}
"""In bfloat16 the base without any adapter differs by 0.54, in tokens of next to no probability."""

NEAR_TIE = {"float32": 0.0, "bfloat16": 0.2}
"""A greedy token may fall short of PEFT's best by so much, in nats."""


@dataclass(frozen=True)
class Row:
    """One kind of adapter, in one model and mode."""

    model: str
    mode: str
    kind: str
    difference: float
    """max |log p - log p of PEFT in float64| over all tokens and the vocabulary."""
    difference_float32: float
    """The same with PEFT in float32, which rounds as well."""
    rounding: float
    """max |log p of PEFT in float32 - log p of PEFT in float64|, for comparison."""
    mismatches: int
    """Greedy tokens that differ, but for near-ties."""
    tokens: int
    effect: float
    """max |log p of PEFT - log p of the base|: what serving the base instead would show."""
    ok: bool


@dataclass(frozen=True)
class References:
    """What PEFT computes, without and with the rounding of float32."""

    exact: Reference
    float32: Reference


@click.command()
@click.option("--quick", is_flag=True, help="Two models, without sharding and bfloat16.")
@click.option("--model", "models", multiple=True, type=click.Choice([*MODELS, SMOLLM2]))
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
    models = models or (("qwen3", "qwen2") if quick else (*MODELS, SMOLLM2))
    modes = modes or (("reused slots",) if quick else tuple(MODES))
    progress = Console(stderr=True)
    rows: list[Row] = []
    smollm2 = resolve_base().directory if SMOLLM2 in models else None
    with tempfile.TemporaryDirectory(prefix="hive-parity-") as folder:
        os.environ["HIVE_HOME"] = folder
        for model in models:
            root = Path(folder) / model
            bench = build_smollm2(smollm2, root) if model == SMOLLM2 else build(model, root)
            references = References(
                *(
                    Reference(bench.base, bench.adapters, bench.compositions, dtype)
                    for dtype in (torch.float64, torch.float32)
                )
            )
            for mode in (m for m in modes if model != SMOLLM2 or m in SMOLLM2_MODES):
                progress.print(f"{model}, {mode} …")
                rows += compare(model, mode, bench, references)
    result = summary(rows)
    Console(stderr=as_json, width=110).print(table(rows))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    if as_json:
        print(json.dumps({"parity": result["parity"]}))


def compare(model: str, mode: str, bench: Bench, references: References) -> list[Row]:
    """Serve one batch and compare every answer."""
    answers = serve(bench, mode)
    dtype = str(MODES[mode]["dtype"])
    return [
        compare_kind(
            model,
            mode,
            name,
            dtype,
            [(p, a) for (n, p), a in zip(bench.requests, answers, strict=True) if n == name],
            references,
        )
        for name in bench.names
    ]


def compare_kind(
    model: str,
    mode: str,
    name: str,
    dtype: str,
    served: list[tuple[list[int], tuple[list[int], torch.Tensor]]],
    references: References,
) -> Row:
    difference = difference_float32 = rounding = effect = 0.0
    mismatches = tokens = 0
    for prompt, (answer, logprobs) in served:
        expected = references.exact.logprobs(name, prompt, answer)
        in_float32 = references.float32.logprobs(name, prompt, answer)
        unadapted = references.exact.logprobs(BASE, prompt, answer)
        difference = max(difference, apart(logprobs, expected))
        difference_float32 = max(difference_float32, apart(logprobs, in_float32))
        rounding = max(rounding, apart(in_float32, expected))
        effect = max(effect, apart(expected, unadapted))
        chosen = expected.gather(1, torch.tensor(answer)[:, None])[:, 0]
        mismatches += int((expected.max(dim=1).values - chosen > NEAR_TIE[dtype]).sum())
        tokens += len(answer)
    tolerance = (SMOLLM2_TOLERANCE if model == SMOLLM2 else TOLERANCE)[dtype]
    return Row(
        model=model,
        mode=mode,
        kind=name,
        difference=difference,
        difference_float32=difference_float32,
        rounding=rounding,
        mismatches=mismatches,
        tokens=tokens,
        effect=effect,
        ok=difference < tolerance and mismatches == 0,
    )


def apart(left: torch.Tensor, right: torch.Tensor) -> float:
    return float((left.double() - right.double()).abs().max())


def serve(bench: Bench, mode: str) -> list[tuple[list[int], torch.Tensor]]:
    """Tokens and log probabilities of each request, by an engine in its own process."""
    paths = prepare(bench)
    virtual = {name: virtual_tokens(path) for name, path in paths.items()}
    job = {
        "engine": {
            "model": str(bench.base),
            "max_lora_rank": MAX_RANK,
            "max_cpu_loras": 2 * len(bench.names),
            "max_model_len": 512,
            "max_num_seqs": 16,
            **MODES[mode],
        },
        "vocabulary": bench.vocabulary,
        "tokens": bench.tokens,
        "requests": [
            [
                str(paths[name]) if name in paths else None,
                bench.names.index(name),
                # Any token holds the place of a soft prompt's row.
                [PLACEHOLDER] * virtual.get(name, 0) + prompt,
            ]
            for name, prompt in bench.requests
        ],
    }
    with tempfile.TemporaryDirectory(prefix="hive-parity-") as folder:
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
    paths = {
        name: make_ready(source, name, base, store, MAX_RANK)
        for name, source in bench.adapters.items()
    }
    for name, parts in bench.compositions.items():
        members = [Member(part, paths[part], weight) for part, weight in parts.items()]
        paths[name] = compose_members(members, base, store, max_rank=MAX_RANK).directory
    return paths


def summary(rows: list[Row]) -> dict[str, object]:
    exact = [r.difference for r in rows if r.mode != "bfloat16"]
    return {
        "parity": {
            "max_difference_float32": max(exact, default=None),
            "max_rounding_of_peft_float32": max((r.rounding for r in rows), default=None),
            "mismatches": sum(r.mismatches for r in rows),
            "target": TOLERANCE["float32"],
            "ok": all(r.ok for r in rows),
        },
        "rows": [asdict(r) for r in rows],
    }


def table(rows: list[Row]) -> Table:
    shown = Table(title="Served log probabilities against PEFT's own")
    for heading in (
        "model",
        "mode",
        "kind",
        "max |Δ log p|",
        "PEFT fp32",
        "mismatches",
        "effect",
        "",
    ):
        shown.add_column(heading, no_wrap=True)
    for row in rows:
        shown.add_row(
            row.model,
            row.mode,
            row.kind,
            f"{row.difference:.1e}",
            f"{row.rounding:.1e}",
            f"{row.mismatches} of {row.tokens}",
            f"{row.effect:.2f}",
            "ok" if row.ok else "[red]no[/]",
        )
    return shown


if __name__ == "__main__":
    main()
