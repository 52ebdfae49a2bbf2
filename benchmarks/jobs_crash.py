"""Is there exactly one answer to each request of a batch when hive-serve is killed again and again?

The real server, with SmolLM2-135M in float32; each death is SIGKILL to hive-serve and its engine
together, as an OOM killer or a lost machine would do it, at a random moment after the server has
begun to answer. In the end each custom_id must stand in the output or the error file, once, with
the answer to its own question: one request in ten asks for an expert that there is not.
`tests/jobs/crash.py` does the same with a fake model and 10,000 requests, since that starts in a
second.
"""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rich_click as click
from jobs_batches import LIMIT_S, Batches, write_batch
from serving import machine
from serving_bench import Bench, end_as_usual_on_sigterm, progress
from serving_client import Ask

from hive_expert.adapters.base_model import DEFAULT, resolve_base
from hive_expert.client.jobs import FINAL
from hive_expert.errors import EngineError

RESULTS = Path(__file__).parent / "results"

NOBODY = "expert-nowhere"
WORDS = ("river", "stone", "cloud", "engine", "garden", "winter", "signal", "copper", "market")
"""Questions are about one of them, so that there are few answers to compare with."""
TOKENS = 2
OPTIONS = ("--dtype", "float32", "--max-job-requests", "8")
"""Few requests at once, so that there are some answers at every moment."""


@dataclass
class Result:
    """What came of one run."""

    requests: int
    kills: int = 0
    states: Counter[str] = field(default_factory=Counter)
    """State of the batch → kills in it."""
    done_at_kills: list[int] = field(default_factory=list)
    """Requests with an answer when the server was killed."""
    results: int = 0
    errors: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0
    """Answers to another question."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not (self.lost or self.twice or self.wrong)

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "states": dict(self.states), "ok": self.ok}


@click.command()
@click.option("--requests", type=click.IntRange(min=10), default=300, show_default=True)
@click.option("--kills", type=click.IntRange(min=0), default=5, show_default=True)
@click.option("--life", type=float, default=3.0, show_default=True, help="Seconds, at most.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--database", help="postgresql://…; SQLite otherwise.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    requests: int,
    kills: int,
    life: float,
    seed: int,
    database: str | None,
    as_json: bool,
    output: Path,
) -> None:
    """Kill hive-serve while it works on a batch; writes jobs_crash.json.

    Each start takes half a minute.

    \b
    Examples:
      python benchmarks/jobs_crash.py
      python benchmarks/jobs_crash.py --requests 10000 --kills 20 --life 30
    """
    end_as_usual_on_sigterm()
    output.mkdir(parents=True, exist_ok=True)
    options = ("--jobs-database", database) if database else ()
    with tempfile.TemporaryDirectory(prefix="hive-jobs-") as folder:
        bench = Bench(resolve_base(DEFAULT).directory, Path(folder), quick=False)
        result = run(bench, options, requests, kills, life, random.Random(seed))
    told = result.as_json() | {"machine": machine()}
    (output / "jobs_crash.json").write_text(json.dumps(told, indent=2) + "\n")
    progress.print_json(data=told)
    if as_json:
        print(json.dumps(told))


def run(
    bench: Bench,
    options: tuple[str, ...],
    requests: int,
    kills: int,
    life_s: float,
    dice: random.Random,
) -> Result:
    """One batch through so many deaths of its server."""
    result, began = Result(requests), time.monotonic()
    experts = bench.made("none")
    asks = [
        Ask(NOBODY if n % 10 == 9 else bench.base.name, chat(question(n)), TOKENS)
        for n in range(requests)
    ]
    file = write_batch(bench.folder / "crash.jsonl", asks)
    batch_id = ""
    while result.kills < kills:
        with killed(bench, experts, options) as batches:
            batch_id = batch_id or batches.make(batches.upload(file))
            time.sleep(dice.uniform(0, life_s))
            batch = batches.client.batch(batch_id)
            if batch["status"] in FINAL:
                break
            counts = batch["request_counts"]
            result.states[batch["status"]] += 1
            result.done_at_kills.append(counts["completed"] + counts["failed"])
        result.kills += 1
        progress.print(f"killed {result.kills} times, {result.done_at_kills[-1]} answered")
    with bench.hive(experts, *OPTIONS, *options, jobs=True) as server:
        batches = Batches(server.url)
        batch_id = batch_id or batches.make(batches.upload(file))
        batch = batches.ended(batch_id)
        judge(batches, batch, expected(bench, server.api), result)
    result.seconds = round(time.monotonic() - began, 1)
    return result


@contextmanager
def killed(bench: Bench, experts: Path, options: tuple[str, ...]) -> Iterator[Batches]:
    """A server that is killed at the end of the block, and all of its processes with it."""
    with (
        suppress(EngineError),
        bench.hive(experts, *OPTIONS, *options, jobs=True) as server,
    ):
        try:
            yield Batches(server.url)
        finally:
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait(LIMIT_S)


def question(number: int) -> str:
    return f"Say one word about a {WORDS[number % len(WORDS)]}."


def chat(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": text},)


def expected(bench: Bench, api: str) -> dict[str, str]:
    """Question → its answer, asked directly and alone."""
    from serving_client import Client

    with Client(api) as client:
        texts = [question(n) for n in range(len(WORDS))]
        return {text: client.ask(Ask(bench.base.name, chat(text), TOKENS)).text for text in texts}


def judge(
    batches: Batches, batch: dict[str, Any], expected: dict[str, str], result: Result
) -> None:
    """Count what is in the output and error file."""
    seen: Counter[str] = Counter()
    for good, file_id in ((True, batch["output_file_id"]), (False, batch["error_file_id"])):
        for line in batches.lines(file_id):
            seen[line["custom_id"]] += 1
            number = int(line["custom_id"][1:])
            response = line["response"] or {"status_code": 0, "body": {}}
            if good:
                result.results += 1
                text = response["body"]["choices"][0]["message"]["content"]
                right = text == expected[question(number)]
            else:
                result.errors += 1
                right = response["status_code"] == 404
            result.wrong += not right or (number % 10 == 9) == good
    result.lost = result.requests - len(seen)
    result.twice = sum(count - 1 for count in seen.values())


if __name__ == "__main__":
    main()
