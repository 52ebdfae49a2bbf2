"""Is every answer right while adapters come and go? Random operations on twenty adapters.

Requests, compositions, loads, unloads, broken adapters, one whose numbers overflow and clients
that leave, in an order drawn by a seed, on four slots. Every answer must be what PEFT computes for
that adapter alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import rich_click as click
import torch
from interleavings_subject import COMPOSITIONS, MAX_RANK, Subject, build
from parity_models import Reference
from parity_prepare import make_ready
from rich.console import Console

from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.store import AdapterStore

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "interleavings.json"
ADAPTERS = 20
SLOTS = 4
IN_MEMORY = 8
"""Adapters the engine keeps: with more in use it reads some again, in the middle of a batch."""

TOKENS = 8
TOLERANCE = 1e-4
"""Of a log probability, in nats."""


@dataclass(frozen=True)
class Verdict:
    """What the answers are worth."""

    answers: int
    wrong: int
    """Answers that are not PEFT's greedy tokens for that adapter alone."""
    max_difference: float
    """max |log p - log p of PEFT| of the tokens answered."""
    questions: int
    """Different pairs of adapter and prompt among them."""
    alike: int
    """Pairs of adapters that answer some prompt alike, so that a mix-up would not show."""


@click.command()
@click.option("--operations", default=10_000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
@click.option("--quick", is_flag=True, help="300 operations.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(operations: int, seed: int, quick: bool, as_json: bool, output: Path) -> None:
    """Draw random operations and check every answer.

    \b
    Examples:
      python benchmarks/interleavings.py
      python benchmarks/interleavings.py --quick --seed 7 --json
    """
    torch.set_num_threads(1)
    operations = 300 if quick else operations
    progress = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="hive-interleavings-") as folder:
        os.environ["HIVE_HOME"] = folder
        subject = build(Path(folder), prompts=5 if quick else 12)
        progress.print(f"{operations} operations …")
        found = serve(subject, operations, seed)
        progress.print(f"{len(found['answers'])} answers to check …")
        verdict = check(found["answers"], subject)
    result = summary(operations, seed, found, verdict)
    Console(stderr=as_json).print_json(data=result)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    if as_json:
        print(json.dumps({"interleavings": result}))


def serve(subject: Subject, operations: int, seed: int) -> dict[str, Any]:
    """What came of the operations, by an engine in its own process."""
    assert len(subject.adapters) == ADAPTERS
    base, store = BaseWeights(subject.base), AdapterStore.default()
    adapters = {
        name: str(make_ready(source, name, base, store, MAX_RANK))
        for name, source in subject.adapters.items()
    }
    job = {
        "engine": {
            "model": str(subject.base),
            "dtype": "float32",
            "max_loras": SLOTS,
            "max_cpu_loras": IN_MEMORY,
            "max_lora_rank": MAX_RANK,
            "max_model_len": 192,
            "max_num_seqs": 6,
            # Prompts are computed in pieces; and the engine keeps something for every size of a
            # step, which would look like a leak if there were many sizes.
            "max_num_batched_tokens": 128,
            # Few enough that cached prefixes are dropped, and requests have to wait.
            "block_size": 32,
            "num_gpu_blocks_override": 24,
        },
        "seed": seed,
        "operations": operations,
        "tokens": TOKENS,
        "prompts": subject.prompts,
        "adapters": adapters,
        "compositions": COMPOSITIONS,
        "broken": {name: str(path) for name, path in subject.broken.items()},
        "overflowing": str(subject.overflowing),
    }
    with tempfile.TemporaryDirectory(prefix="hive-interleavings-") as folder:
        question, answer = Path(folder) / "job.json", Path(folder) / "answers.json"
        question.write_text(json.dumps(job))
        done = subprocess.run(
            [sys.executable, HERE / "interleavings_engine.py", question, answer],
            env=os.environ
            | {
                "PYTHONMALLOC": "malloc",
                "OMP_NUM_THREADS": "1",
                "OMP_WAIT_POLICY": "PASSIVE",
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            },
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise click.ClickException(f"the engine failed:\n{done.stderr[-4000:]}")
        *answers, run = map(json.loads, answer.read_text().splitlines())
    found: dict[str, Any] = {**run, "answers": answers}
    if any(status["gains"] != "active" for status in found["status"]):
        raise click.ClickException(f"the plugin is not active: {found['status']}")
    return found


def check(answers: list[tuple[str, int, list[int], list[float]]], subject: Subject) -> Verdict:
    """Compare every answer with PEFT's for that adapter alone."""
    reference = Reference(subject.base, subject.adapters, COMPOSITIONS)
    longest: dict[tuple[str, int], list[int]] = {}
    for name, prompt, tokens, _ in answers:
        longest[name, prompt] = max(longest.get((name, prompt), []), tokens, key=len)
    expected = {
        (name, prompt): reference.logprobs(name, subject.prompts[prompt], tokens)
        for (name, prompt), tokens in longest.items()
    }
    greedy = {key: logprobs.argmax(dim=1).tolist() for key, logprobs in expected.items()}
    difference, wrong = 0.0, 0
    for name, prompt, tokens, logprobs in answers:
        # With the longest answer right, greedy[...] is what PEFT says from the prompt alone.
        right = greedy[name, prompt][: len(tokens)] == tokens
        if not right or greedy[name, prompt] != longest[name, prompt]:
            wrong += 1
            told = f"wrong: {name}, prompt {prompt}: {tokens}, not {greedy[name, prompt]}"
            print(told, file=sys.stderr)
        of_tokens = expected[name, prompt][range(len(tokens)), tokens]
        apart = (of_tokens - torch.tensor(logprobs)).abs().nan_to_num(nan=torch.inf)
        difference = max(difference, float(apart.max()))
    return Verdict(len(answers), wrong, difference, len(longest), _alike(expected))


def _alike(expected: dict[tuple[str, int], torch.Tensor]) -> int:
    """Pairs of names whose first token's log probabilities differ by less than ten tolerances."""
    pairs = set()
    for (name, prompt), mine in expected.items():
        for (other, same), theirs in expected.items():
            apart = float((mine[0] - theirs[0]).abs().max())
            if prompt == same and name < other and apart < 10 * TOLERANCE:
                pairs.add((name, other))
    return len(pairs)


def summary(
    operations: int, seed: int, found: dict[str, Any], verdict: Verdict
) -> dict[str, object]:
    return {
        "operations": operations,
        "seed": seed,
        "adapters": ADAPTERS,
        "compositions": len(COMPOSITIONS),
        "slots": SLOTS,
        "in_memory": IN_MEMORY,
        "seconds": round(found["seconds"], 1),
        "counts": found["counts"],
        "reads_from_disk": found["reads"],
        **asdict(verdict),
        "left_registered": len(found["registered"]),
        "left_in_slots": len(found["in_slots"]),
        "resident_mib": round(found["memory"][-1][1]),
        "resident_slope_mib_per_1000": round(slope(found["memory"], 1), 3),
        "heap_mib": round(found["memory"][-1][2]),
        "heap_slope_mib_per_1000": round(slope(found["memory"], 2), 3),
        "ok": verdict.wrong == 0
        and verdict.max_difference < TOLERANCE
        and not found["registered"]
        and not found["in_slots"],
    }


def slope(memory: list[list[float]], column: int) -> float:
    """MiB per 1,000 operations, by least squares over the second half."""
    half = memory[len(memory) // 2 :]
    if len(half) < 2:
        return 0.0
    operations = [row[0] for row in half]
    return float(numpy.polyfit(operations, [row[column] for row in half], 1)[0]) * 1000


if __name__ == "__main__":
    main()
