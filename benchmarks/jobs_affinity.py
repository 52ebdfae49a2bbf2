"""P18: how many requests find their expert resident, on two replicas that share twenty experts.

Demand by Zipf's law (the k-th expert is asked for 1/k as often as the first), 4 slots on each
replica and 10 experts in memory, those in slots included: half of all. Resident is an expert that
is in a slot or in memory, so that its request waits for no disk; `x-hive-residency` of the answer
tells. Before counting begins, each expert has been asked for once.

Beside it the same requests to two servers without a front, in turns (round robin), and how many
could find theirs in a slot at best: the share of the eight that are asked for most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from statistics import median

from rounds import Ratio
from serving_bench import Bench, progress
from serving_client import Ask, Client, Reply, random_ids
from serving_experts import names, packed
from serving_figures import Finding, figure

TARGET = 0.95
REPLICAS, EXPERTS, SLOTS, IN_MEMORY = 2, 20, 4, 10
CLIENTS = 8
PROMPT, TOKENS = 16, 4


@dataclass(frozen=True)
class Sizes:
    rounds: int
    requests: int
    """Of each round."""


QUICK = Sizes(rounds=2, requests=100)
FULL = Sizes(rounds=5, requests=200)


def measure(bench: Bench) -> Finding:
    sizes = QUICK if bench.quick else FULL
    experts = names(EXPERTS)
    folder = bench.made("affinity")
    packed(bench, folder, experts)
    random = Random(0)
    first = [Ask(name, random_ids(random, PROMPT), TOKENS) for name in experts]
    rounds = [
        [
            Ask(name, random_ids(random, PROMPT), TOKENS)
            for name in zipf(random, experts, sizes.requests)
        ]
        for _ in range(sizes.rounds)
    ]
    options = ("--max-slots", str(SLOTS), "--max-cpu-experts", str(IN_MEMORY))
    with ExitStack() as stack:
        server = stack.enter_context(bench.hive(folder, *options, "--replicas", str(REPLICAS)))
        client = stack.enter_context(Client(server.api))
        client.load(first, 1)
        shared = [client.load(asks, CLIENTS)[1] for asks in tell("replicas", rounds)]
    with ExitStack() as stack:
        clients = []
        for _ in range(REPLICAS):
            server = stack.enter_context(bench.hive(folder, *options))
            clients.append(stack.enter_context(Client(server.api)))
            clients[-1].load(first, 1)
        in_turns = [
            [
                reply
                for number, client in enumerate(clients)
                for reply in client.load(asks[number::REPLICAS], CLIENTS // REPLICAS)[1]
            ]
            for asks in tell("round robin", rounds)
        ]
    return found(
        [places(replies) for replies in shared],
        [places(replies) for replies in in_turns],
        [best(asks) for asks in rounds],
    )


def tell(what: str, rounds: Sequence[list[Ask]]) -> Iterator[list[Ask]]:
    for number, asks in enumerate(rounds, 1):
        progress.print(f"P18: {what}, round {number} of {len(rounds)}")
        yield asks


def zipf(random: Random, experts: Sequence[str], count: int) -> list[str]:
    """Experts as they are asked for."""
    weights = [1 / rank for rank in range(1, len(experts) + 1)]
    return random.choices(experts, weights, k=count)


Places = Counter[str]
"""How many requests found their expert where: `hit` (in a slot), `cpu`, `disk`."""


def places(replies: Sequence[Reply]) -> Places:
    return Counter(reply.headers["x-hive-residency"].partition(";")[0] for reply in replies)


def best(asks: Sequence[Ask]) -> float:
    """The share of the experts that would fill all slots, if each were in one."""
    asked = Counter(ask.model for ask in asks).most_common(REPLICAS * SLOTS)
    return sum(count for _, count in asked) / len(asks)


def found(shared: list[Places], in_turns: list[Places], at_best: list[float]) -> Finding:
    """The figure, from what each round's requests found."""
    raw = {
        "resident": [share(now, "hit", "cpu") for now in shared],
        "in a slot": [share(now, "hit") for now in shared],
        "resident, round robin": [share(now, "hit", "cpu") for now in in_turns],
        "in a slot, round robin": [share(now, "hit") for now in in_turns],
        "in a slot, at best": at_best,
    }
    resident = raw["resident"]
    ratio = Ratio(median(resident), min(resident), max(resident), len(resident))
    beside = {what: median(shares) for what, shares in raw.items() if what != "resident"}
    return Finding({"P18": figure(ratio, TARGET, "at least")}, beside, raw)


def share(now: Places, *where: str) -> float:
    return sum(now[place] for place in where) / now.total()
