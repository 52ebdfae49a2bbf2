"""P12: how much slower ten experts are on three slots than on ten.

Two servers, each with ten experts in memory, and batches of at most 16 requests. 48 clients send
requests for experts drawn at random (32 tokens of prompt, 32 of answer), each the next when it has
an answer: so that there is always a request for one of the experts in a slot. Beside the figure the
same with 16 clients, where there is not: then a batch on three slots is smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from random import Random

from rounds import Ratio, interleave
from serving_bench import Bench, progress
from serving_client import Ask, Client, random_ids, settle
from serving_experts import names, packed
from serving_figures import Finding, figure

TARGET = 0.9
EXPERTS = 10
FEW = 3
BATCH = 16
CROWD = 48
PROMPT, TOKENS = 32, 32


def measure(bench: Bench) -> Finding:
    rounds, requests = (1, 48) if bench.quick else (4, 64)
    experts = names(EXPERTS)
    folder = bench.made("slots")
    packed(bench, folder, experts)
    with ExitStack() as stack:
        clients = {}
        for slots in (FEW, EXPERTS):
            options = {"--max-slots": slots, "--max-cpu-experts": 16, "--max-num-seqs": BATCH}
            words = [str(word) for option in options.items() for word in option]
            server = stack.enter_context(bench.hive(folder, *words))
            clients[slots] = stack.enter_context(Client(server.api))
            rate(clients[slots], experts, requests=2 * EXPERTS, crowd=1)
        raw: dict[str, list[float]] = {}
        for crowd in (CROWD, BATCH):
            subjects: dict[str, Callable[[], float]] = {
                subject: partial(rate, clients[slots], experts, requests, crowd)
                for subject, slots in (
                    (f"{FEW} slots, {crowd} clients", FEW),
                    (f"{EXPERTS} slots, {crowd} clients", EXPERTS),
                    (f"{EXPERTS} slots again, {crowd} clients", EXPERTS),
                )
            }
            raw |= interleave(subjects, rounds, tell=_tell)
    return found(raw)


def rate(client: Client, experts: list[str], requests: int, crowd: int) -> float:
    """Generated tokens per second; every round has the same requests."""
    settle()
    random = Random(requests)
    asks = [
        Ask(random.choice(experts), random_ids(random, PROMPT), TOKENS) for _ in range(requests)
    ]
    # In turns at first, so that whoever warms up a server has had them all.
    asks[: len(experts)] = [Ask(e, random_ids(random, PROMPT), TOKENS) for e in experts]
    seconds, _ = client.load(asks, crowd)
    return requests * TOKENS / seconds


def found(raw: dict[str, list[float]]) -> Finding:
    """The figures, from rates by subject and round."""

    def ratio(crowd: int, above: str = f"{FEW} slots") -> Ratio:
        return Ratio.of(raw[f"{above}, {crowd} clients"], raw[f"{EXPERTS} slots, {crowd} clients"])

    return Finding(
        {"P12": figure(ratio(CROWD), TARGET, "at least")},
        {
            f"no more clients than fit into a batch ({BATCH})": asdict(ratio(BATCH)),
            "A/A": asdict(ratio(CROWD, f"{EXPERTS} slots again")),
        },
        raw,
    )


def _tell(line: str) -> None:
    progress.print(f"P12: {line}")
