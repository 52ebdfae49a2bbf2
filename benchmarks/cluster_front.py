"""What a streamed chat costs hive-serve's front process, for `cluster.py`."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random

import psutil
import rich_click as click
from rounds import interleave
from serving import machine
from serving_bench import Bench, end_as_usual_on_sigterm, progress
from serving_client import Ask, Client, random_chat
from serving_experts import names, packed
from serving_figures import Milliseconds

from hive_expert.adapters.base_model import DEFAULT, resolve_base

RESULTS = Path(__file__).parent / "results"
EXPERTS = 4
CLIENTS = 16
"""At a time, so that the front has several answers to pass on at once, as under load."""
WORDS = 60
SHORT, LONG = 1, 33
"""Tokens of an answer."""
SETTLE_S = 1.3
"""After its last work a vLLM engine looks for more for a second."""


def processor_s(client: Client, front: psutil.Process, asks: list[Ask]) -> float:
    """Processor time of the front for each of `asks`, streamed, `CLIENTS` at a time."""
    time.sleep(SETTLE_S)
    before = front.cpu_times()
    client.run(_streams(client, asks))
    after = front.cpu_times()
    return (after.user + after.system - before.user - before.system) / len(asks)


async def _streams(client: Client, asks: list[Ask]) -> None:
    waiting = iter(asks)

    async def one() -> None:
        for ask in waiting:
            await client.streamed(ask)

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(one())


def measure(bench: Bench, rounds: int, count: int) -> dict[str, list[float]]:
    experts = names(EXPERTS)
    folder = bench.made("front")
    packed(bench, folder, experts)
    random = Random(0)
    with bench.hive(folder) as server, Client(server.api) as client:
        front = psutil.Process(server.process.pid)
        subjects = {}
        for tokens in (SHORT, LONG):
            asks = [
                Ask(experts[n % EXPERTS], random_chat(random, WORDS), tokens) for n in range(count)
            ]
            subjects[f"{tokens} tokens"] = partial(processor_s, client, front, asks)
        processor_s(client, front, asks)
        return interleave(subjects, rounds, tell=progress.print)


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rounds.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(quick: bool, as_json: bool, output: Path) -> None:
    """Measure the front process; writes cluster_front.json.

    \b
    Examples:
      python benchmarks/cluster_front.py --quick
      python benchmarks/cluster_front.py --json | tail -n 1
    """
    end_as_usual_on_sigterm()
    base = resolve_base(DEFAULT).directory
    with tempfile.TemporaryDirectory(prefix="hive-front-") as folder:
        raw = measure(Bench(base, Path(folder), quick), 1 if quick else 3, 48)
    short, long = raw[f"{SHORT} tokens"], raw[f"{LONG} tokens"]
    per_token = [s / (LONG - SHORT) for s in map(float.__sub__, long, short)]
    figures = {
        "request_ms": asdict(Milliseconds.of(short)),
        "token_ms": asdict(Milliseconds.of(per_token)),
    }
    result = figures | {"raw": raw, "machine": machine()}
    output.mkdir(parents=True, exist_ok=True)
    name = "cluster_front_quick.json" if quick else "cluster_front.json"
    (output / name).write_text(json.dumps(result, indent=2) + "\n")
    progress.print(figures)
    if as_json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
