"""Tokens go by weight, and a pause earns nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from hive_expert.jobs.fair_share import FairShare


def served(
    weights: Mapping[str, float], sizes: Mapping[str, int], *, places: int, rounds: int
) -> Counter[str]:
    """Tokens of agents that always have requests ready, on an engine with so many places."""
    fair, tokens = FairShare(weights.__getitem__), Counter[str]()
    running: list[tuple[str, float]] = []
    dice = random.Random(0)
    for _ in range(rounds):
        while len(running) < places:
            agent = fair.next_of(set(weights))
            running.append((agent, fair.start(agent)))
        agent, charged = running.pop(dice.randrange(len(running)))
        used = dice.randint(1, 2 * sizes[agent])
        fair.end(agent, charged, used)
        tokens[agent] += used
    return tokens


def test_three_agents_get_tokens_by_weight() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 4.0}
    tokens = served(weights, {"a": 300, "b": 20, "c": 80}, places=16, rounds=20_000)
    total = sum(tokens.values())
    for agent, weight in weights.items():
        assert abs(tokens[agent] / total - weight / 7) < 0.1 * weight / 7


def test_an_agent_that_comes_late_does_not_catch_up() -> None:
    fair = FairShare(lambda agent: 1.0)
    for _ in range(100):
        assert fair.next_of({"early"}) == "early"
        fair.end("early", fair.start("early"), 50)
    chosen = Counter[str]()
    for _ in range(100):
        agent = fair.next_of({"early", "late"})
        chosen[agent] += 1
        fair.end(agent, fair.start(agent), 50)
    assert abs(chosen["early"] - chosen["late"]) <= 2


def test_what_a_request_really_took_counts() -> None:
    fair = FairShare(lambda agent: 1.0)
    fair.next_of({"long", "short"})
    fair.end("long", fair.start("long"), 1000)
    fair.end("short", fair.start("short"), 10)
    assert [fair.next_of({"long", "short"}) for _ in range(3)] == ["short"] * 3
