"""P10: what a grammar costs where it changes nothing: the same tokens with it and without.

Test cases of the shipped experts go to hive-serve, eight at a time, with the expert's grammar and
with `x-hive-grammar: off`. Counted are only cases whose answer was the same both ways in a first
pass, which also compiles the grammars and fills the prefix cache: what is timed is nearly all
decoding, where a grammar costs most.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rounds import Ratio, interleave
from serving_bench import Bench, progress
from serving_client import Ask, Client, Reply
from serving_figures import Finding, figure

from hive_expert.package.pack import build_package

TARGET = 0.97
EXPERTS = ("expert-sql", "expert-json")
ROOT = Path(__file__).parents[1]
CLIENTS = 8
OFF = {"x-hive-grammar": "off"}


def measure(bench: Bench) -> Finding:
    tried, rounds = (12, 2) if bench.quick else (20, 5)
    folder = bench.made("grammar")
    for name in EXPERTS:
        directory = ROOT / "experts" / name
        build_package(directory, model="smollm2-135m", output=folder, signer=bench.signer)
    raw: dict[str, list[float]] = {}
    beside: dict[str, Any] = {}
    with bench.hive(folder) as server, Client(server.api) as client:
        for expert in EXPERTS:
            cases = Cases(client, expert, tried)
            cases.keep_unconstrained()
            subjects: dict[str, Callable[[], float]] = {
                f"{expert}, free": partial(cases.rate, OFF),
                f"{expert}, free again": partial(cases.rate, OFF),
                f"{expert}, grammar": partial(cases.rate, {}),
            }
            raw |= interleave(subjects, rounds, tell=_tell)
            beside[expert] = cases.account()
    return found(raw, beside)


class Cases:
    """Test cases of one expert, and how fast they are answered."""

    def __init__(self, client: Client, expert: str, count: int) -> None:
        self._client = client
        self._expert = expert
        file = ROOT / "experts" / expert / "tests" / "test_cases.json"
        cases = json.loads(file.read_text())["cases"]
        self._prompts = [tuple(case["messages"]) for case in cases[:: len(cases) // count]]
        self._tried = len(self._prompts)
        self._texts: list[str] = []
        self._answers = self._same = 0

    def keep_unconstrained(self) -> None:
        """Drop the cases that the grammar changes."""
        _, free = self._ask(OFF)
        _, held = self._ask({})
        alike = [a.text == b.text for a, b in zip(free, held, strict=True)]
        self._prompts = [p for p, same in zip(self._prompts, alike, strict=True) if same]
        self._texts = [a.text for a, same in zip(free, alike, strict=True) if same]

    def rate(self, headers: dict[str, str]) -> float:
        """Generated tokens per second."""
        seconds, replies = self._ask(headers)
        self._answers += len(replies)
        self._same += sum(r.text == text for r, text in zip(replies, self._texts, strict=True))
        return sum(reply.tokens for reply in replies) / seconds

    def account(self) -> dict[str, int]:
        """How many cases were tried and counted, and how many answers were the same each time.

        In bfloat16 a near-tie may fall otherwise in another batch.
        """
        counted = {"tried": self._tried, "counted": len(self._prompts)}
        return counted | {"answers": self._answers, "same_answers": self._same}

    def _ask(self, headers: dict[str, str]) -> tuple[float, list[Reply]]:
        asks = [Ask(self._expert, p, 160, free=True, headers=headers) for p in self._prompts]
        return self._client.load(asks, CLIENTS)


def found(raw: dict[str, list[float]], beside: dict[str, Any]) -> Finding:
    """The figures: that of the expert with the lower ratio stands for both."""
    ratios = {
        expert: Ratio.of(raw[f"{expert}, grammar"], raw[f"{expert}, free"]) for expert in EXPERTS
    }
    lowest = min(ratios.values(), key=lambda ratio: ratio.ratio)
    controls = {
        f"A/A {expert}": asdict(Ratio.of(raw[f"{expert}, free again"], raw[f"{expert}, free"]))
        for expert in EXPERTS
    }
    each = {expert: asdict(ratio) for expert, ratio in ratios.items()}
    return Finding(
        {"P10": figure(lowest, TARGET, "at least") | {"by_expert": each}}, beside | controls, raw
    )


def _tell(line: str) -> None:
    progress.print(f"P10: {line}")
