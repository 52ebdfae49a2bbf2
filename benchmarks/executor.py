"""The engine that calls its worker (`engine/in_process.py`) beside vLLM's two processes, on a CPU.

Two servers as users start them, one of which is told to bind workers to cores, which only vLLM's
executor does; both compute on all cores but one. One works at a time, after a pause in which the
other falls asleep: in half of the rounds alone on the machine, in half beside a process that keeps
a core busy. The figures are ratios to vLLM's executor.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

import psutil
import rich_click as click
from rounds import Ratio, interleave
from serving import machine
from serving_bench import Bench, end_as_usual_on_sigterm, progress
from serving_client import Ask, Client, random_ids, settle
from serving_experts import names, packed

from hive_expert.adapters.base_model import DEFAULT, resolve_base
from hive_expert.engine.in_process import BINDING

RESULTS = Path(__file__).parent / "results" / "executor.json"
EXPERTS = 4
CLIENTS = 8
PROMPT, TOKENS = 64, 48
LONG = 1024
"""Prompt tokens of the request whose first token is waited for."""
VLLM = "vLLM's executor"
SERVERS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "ours": {},
        VLLM: {BINDING[0]: "auto"},
    }
)


@dataclass(frozen=True)
class Round:
    """What one server did in a round."""

    rate: float
    """Generated tokens per second of all clients."""
    first_s: float
    """To the first token of a long prompt, alone."""
    token_s: float
    """From one token to the next, alone."""
    cpu: float
    """Seconds of the processor per second while the clients were served."""


Raw = Mapping[str, list[Round]]
"""By server."""


@click.command()
@click.option("--quick", is_flag=True, help="One round of each instead of five.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(quick: bool, as_json: bool, output: Path) -> None:
    """Measure what becomes of two cores.

    \b
    Examples:
      python benchmarks/executor.py --quick
      python benchmarks/executor.py --json | tail -n 1
    """
    end_as_usual_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="hive-executor-") as folder:
        measured = measure(Bench(resolve_base(DEFAULT).directory, Path(folder), quick))
    figures = found(measured)
    if not quick:
        raw = {where: numbers(rounds) for where, rounds in measured.items()}
        stored = {"figures": figures, "raw": raw, "machine": machine()}
        output.write_text(json.dumps(stored, indent=2) + "\n")
    for name, figure in figures.items():
        progress.print(f"{name}: {figure['ratio']:.3f} ({figure['low']:.3f}…{figure['high']:.3f})")
    if as_json:
        print(json.dumps(figures))


def measure(bench: Bench) -> dict[str, Raw]:
    experts = names(EXPERTS)
    folder = bench.made("experts")
    packed(bench, folder, experts)
    subjects: dict[str, Callable[[], Round]] = {}
    with ExitStack() as stack:
        for name, variables in SERVERS.items():
            server = stack.enter_context(bench.hive(folder, variables=variables))
            client = stack.enter_context(Client(server.api))
            subjects[name] = partial(once, client, psutil.Process(server.process.pid), experts)
            subjects[name]()
        subjects[f"{VLLM} again"] = subjects[VLLM]
        rounds = 1 if bench.quick else 5
        alone = interleave(subjects, rounds, tell=progress.print)
        with busy():
            beside = interleave(subjects, rounds, tell=lambda it: progress.print(f"beside: {it}"))
    return {"alone": alone, "beside a busy process": beside}


@contextmanager
def busy() -> Iterator[None]:
    """A process that computes for as long as the block lasts."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def once(client: Client, server: psutil.Process, experts: list[str]) -> Round:
    settle()
    random = Random(time.perf_counter_ns())  # no prompt twice: the prefix cache would answer
    asks = [Ask(experts[n % EXPERTS], random_ids(random, PROMPT), TOKENS) for n in range(CLIENTS)]
    before = processor_seconds(server)
    seconds, replies = client.load(asks, CLIENTS)
    used = processor_seconds(server) - before
    assert all(reply.tokens == TOKENS for reply in replies)
    alone = client.ask(Ask(experts[0], random_ids(random, LONG), TOKENS), stream=True)
    between = (alone.arrivals[-1] - alone.arrivals[0]) / (len(alone.arrivals) - 1)
    return Round(CLIENTS * TOKENS / seconds, alone.first_s, between, used / seconds)


def processor_seconds(server: psutil.Process) -> float:
    """Of the server and all that it has started."""
    times = [p.cpu_times() for p in (server, *server.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def found(measured: Mapping[str, Raw]) -> dict[str, dict[str, Any]]:
    """Each measure of each server, divided by that of vLLM's executor in the same round."""
    return {
        f"{where}, {measure}: {name} ÷ {VLLM}": asdict(
            Ratio.of(
                [getattr(one, measure) for one in rounds],
                [getattr(one, measure) for one in raw[VLLM]],
            )
        )
        for where, raw in measured.items()
        for measure in Round.__annotations__
        for name, rounds in raw.items()
        if name != VLLM
    }


def numbers(raw: Raw) -> dict[str, list[dict[str, float]]]:
    return {name: [asdict(one) for one in rounds] for name, rounds in raw.items()}


if __name__ == "__main__":
    main()
