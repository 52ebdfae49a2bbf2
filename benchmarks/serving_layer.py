"""P8: what our serving layer costs beside vLLM's own, with the same adapters.

Three servers are up: hive-serve, vLLM's own app on our engine (`plain`: only the serving layer
differs), and stock vLLM (`stock`: its LoRA on the CPU differs as well, by far more). One at a time
works; the others sleep. Throughput is of chats of 60 words answered by 48 tokens, 16 at a time, for
8 experts, and for the base alone. Latency is that of one short chat after another, answered by one
token, from sending to the end of the answer; beside it stands what such a chat costs the server's
front process in processor time, which other processes disturb less than they do the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from random import Random
from statistics import median

import psutil
from rounds import Ratio, interleave
from serving_bench import Bench, progress
from serving_client import Ask, Client, random_chat, settle
from serving_experts import names, packed
from serving_figures import Finding, Milliseconds, figure

from hive_expert.serving.local_server import LocalServer

TARGET = 0.98
ADDED_MS = 1.0
EXPERTS = 8
CLIENTS = 16
WORDS, TOKENS = 60, 48


@dataclass(frozen=True)
class Sizes:
    rounds: int
    stock_rounds: int
    latency_rounds: int
    requests: int
    """One after another, in a round of latency."""


QUICK = Sizes(rounds=2, stock_rounds=1, latency_rounds=3, requests=20)
FULL = Sizes(rounds=4, stock_rounds=2, latency_rounds=12, requests=30)


def measure(bench: Bench) -> Finding:
    sizes = QUICK if bench.quick else FULL
    experts = names(EXPERTS)
    folder = bench.made("layer")
    adapters = packed(bench, folder, experts)
    with ExitStack() as stack:
        servers = {
            "hive": stack.enter_context(bench.hive(folder)),
            "plain": stack.enter_context(bench.vllm(adapters, slots=EXPERTS, ours=True)),
            "stock": stack.enter_context(bench.vllm(adapters, slots=EXPERTS, ours=False)),
        }
        clients = {
            name: stack.enter_context(Client(server.api)) for name, server in servers.items()
        }
        base = bench.base.name
        for client in clients.values():
            rate(client, [*experts, base], count=EXPERTS + 1, tokens=2, words=8)
        raw = _throughput(clients, experts, base, sizes) | _latency(clients, experts[0], sizes)
        raw |= _processor_time(clients, servers, experts[0], sizes)
    return found(raw)


def _throughput(
    clients: dict[str, Client], experts: list[str], base: str, sizes: Sizes
) -> dict[str, list[float]]:
    """Generated tokens per second."""
    hive, plain, stock = (clients[name] for name in ("hive", "plain", "stock"))
    fair = {
        "hive": partial(rate, hive, experts),
        "hive again": partial(rate, hive, experts),
        "plain": partial(rate, plain, experts),
        "hive, base": partial(rate, hive, [base]),
        "plain, base": partial(rate, plain, [base]),
    }
    literal = {
        "hive beside stock": partial(rate, hive, experts, count=EXPERTS),
        "stock": partial(rate, stock, experts, count=EXPERTS),
    }
    return interleave(fair, sizes.rounds, tell=_tell) | interleave(
        literal, sizes.stock_rounds, tell=_tell
    )


def _latency(clients: dict[str, Client], expert: str, sizes: Sizes) -> dict[str, list[float]]:
    """Median seconds of a request in each round."""
    subjects: dict[str, Callable[[], float]] = {
        "latency of hive": partial(latency, clients["hive"], expert, sizes.requests),
        "latency of hive again": partial(latency, clients["hive"], expert, sizes.requests),
        "latency of plain": partial(latency, clients["plain"], expert, sizes.requests),
    }
    return interleave(subjects, sizes.latency_rounds, tell=_tell)


def _processor_time(
    clients: dict[str, Client], servers: dict[str, LocalServer], expert: str, sizes: Sizes
) -> dict[str, list[float]]:
    """Seconds per request of the process that speaks HTTP: not the engine's."""

    def of(name: str) -> Callable[[], float]:
        front = psutil.Process(servers[name].process.pid)
        return partial(processor_time, clients[name], front, expert, 2 * sizes.requests)

    subjects = {"hive": of("hive"), "hive again": of("hive"), "plain": of("plain")}
    return interleave(
        {f"processor time of {name}": subject for name, subject in subjects.items()},
        sizes.latency_rounds // 2,
        tell=_tell,
    )


def rate(
    client: Client,
    models: list[str],
    count: int = 2 * CLIENTS,
    tokens: int = TOKENS,
    words: int = WORDS,
) -> float:
    """Tokens per second of `count` chats, by turns for `models`; every round has the same ones."""
    settle()
    random = Random(count)
    asks = [Ask(models[i % len(models)], random_chat(random, words), tokens) for i in range(count)]
    seconds, replies = client.load(asks, CLIENTS)
    assert all(reply.tokens == tokens for reply in replies)
    return count * tokens / seconds


def latency(client: Client, model: str, count: int) -> float:
    settle()
    random = Random(0)
    asks = [Ask(model, random_chat(random, 8), tokens=1) for _ in range(count + 2)]
    return median([client.ask(ask).seconds for ask in asks][2:])


def processor_time(client: Client, front: psutil.Process, model: str, count: int) -> float:
    """Of one short chat, in seconds; the kernel counts in hundredths, hence many chats."""
    settle()
    before = front.cpu_times()
    random = Random(0)
    for _ in range(count):
        client.ask(Ask(model, random_chat(random, 8), tokens=1))
    after = front.cpu_times()
    return (after.user + after.system - before.user - before.system) / count


def found(raw: dict[str, list[float]]) -> Finding:
    """The figures, from rates and latencies by subject and round."""
    literal = Ratio.of(raw["hive beside stock"], raw["stock"])
    layer = Ratio.of(raw["hive"], raw["plain"])
    added = Milliseconds.added(raw["latency of hive"], raw["latency of plain"])
    worked = Milliseconds.added(raw["processor time of hive"], raw["processor time of plain"])
    fair = figure(layer, TARGET, "at least")
    milliseconds = asdict(added) | {"target": ADDED_MS, "ok": added.ms <= ADDED_MS}
    return Finding(
        {
            "P8": figure(literal, TARGET, "at least", also=fair["ok"] and milliseconds["ok"])
            | {"of_vllm_on_our_engine": fair, "added_ms": milliseconds}
            | {"added_processor_ms": asdict(worked)}
        },
        {
            "base requests, hive ÷ vLLM on our engine": asdict(
                Ratio.of(raw["hive, base"], raw["plain, base"])
            ),
            "A/A throughput": asdict(Ratio.of(raw["hive again"], raw["hive"])),
            "A/A latency, ms": asdict(
                Milliseconds.added(raw["latency of hive again"], raw["latency of hive"])
            ),
            "A/A processor time, ms": asdict(
                Milliseconds.added(
                    raw["processor time of hive again"], raw["processor time of hive"]
                )
            ),
            "processor time of vLLM's own front, ms": asdict(
                Milliseconds.of(raw["processor time of plain"])
            ),
        },
        raw,
    )


def _tell(line: str) -> None:
    progress.print(f"P8: {line}")
