"""P17: what two replicas on a core each do, beside one replica that has one core.

Two servers as users start them, each with Ray Serve's front, proxy and controller, which are
counted in: the one with a single replica is bound to one core as a whole, the other to two. 32
clients send the same requests for eight experts, the next when they have an answer; a replica works
on 16 at once. One server works at a time, after a pause that the other needs to fall asleep.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from random import Random

from rounds import Ratio, interleave
from serving_bench import Bench, progress
from serving_client import Ask, Client, random_chat
from serving_experts import names, packed
from serving_figures import Finding, figure

TARGET = 1.7
EXPERTS = 8
BATCH = 16
CLIENTS = 2 * BATCH
WORDS, TOKENS = 30, 48
SETTLE_S = 1.3
"""After its last work a vLLM engine looks for more for a second, which costs a core."""


@dataclass(frozen=True)
class Sizes:
    rounds: int
    requests: int


QUICK = Sizes(rounds=1, requests=96)
FULL = Sizes(rounds=3, requests=192)


def measure(bench: Bench) -> Finding:
    sizes = QUICK if bench.quick else FULL
    cores = sorted(os.sched_getaffinity(0))[:2]
    experts = names(EXPERTS)
    folder = bench.made("replicas")
    packed(bench, folder, experts)
    random = Random(0)
    asks = [
        Ask(experts[n % EXPERTS], random_chat(random, WORDS), TOKENS) for n in range(sizes.requests)
    ]
    with ExitStack() as stack:
        clients = {}
        for count in (1, 2):
            words = ("--replicas", str(count), "--replica-cpus", "1", "--max-num-seqs", str(BATCH))
            with bound_to(cores[:count]):
                server = stack.enter_context(bench.hive(folder, *words))
            clients[count] = stack.enter_context(Client(server.api))
            rate(clients[count], asks[: 4 * EXPERTS])
        one = partial(rate, clients[1], asks)
        subjects: dict[str, Callable[[], float]] = {
            "two": partial(rate, clients[2], asks),
            "one": one,
            "one again": one,
        }
        raw = interleave(subjects, sizes.rounds, tell=lambda line: progress.print(f"P17: {line}"))
    return found(raw)


def rate(client: Client, asks: list[Ask]) -> float:
    """Generated tokens per second."""
    time.sleep(SETTLE_S)
    seconds, replies = client.load(asks, CLIENTS)
    assert all(reply.tokens == TOKENS for reply in replies)
    return len(asks) * TOKENS / seconds


def found(raw: dict[str, list[float]]) -> Finding:
    """The figure, from rates by subject and round."""
    return Finding(
        {"P17": figure(Ratio.of(raw["two"], raw["one"]), TARGET, "at least")},
        {"A/A": asdict(Ratio.of(raw["one again"], raw["one"]))},
        raw,
    )


@contextmanager
def bound_to(cores: list[int]) -> Iterator[None]:
    """Processes that begin in this block stay on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
