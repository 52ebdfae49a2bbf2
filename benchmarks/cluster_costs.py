"""What a replica's work takes: figures that were measured, from `results/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"

SOURCES = {
    "prompt_token_s": "multi_lora.json, rates: prefill of 20 requests for ten experts (P5)",
    "step_s, step_request_s": "multi_lora.json, table: a line through the decode steps of batches "
    "of 1, 4 and 16 after 32 tokens of prompt; beyond 16 it is extrapolated",
    "activate_s": "serving.json, P6: what an expert adds that is in memory, not in a slot",
    "load_s": "serving.json, P6: load_ms of a verified package of 10 MB",
    "verify_mb_s": "verify.json, rates: open, new",
    "start_s": "serving.json, P14: start with ten packages",
    "front_s, front_token_s": "cluster_front.json: processor time of hive-serve's front process",
    "route_s": "router.json, P9: p50 at 10 and 1,000 experts; a line through both",
}


@dataclass(frozen=True)
class Costs:
    """Seconds of one replica's engine, of the front, and of what happens beside them.

    Law: `step(n)` grows with n, and a request's share of it, `step(n) / n`, falls.
    """

    prompt_token_s: float
    step_s: float
    """Of a step that generates a token for each request of the batch, however small it is."""
    step_request_s: float
    """More of that for each request."""
    activate_s: float = 0.0
    """From memory into a slot; the engine does nothing else."""
    load_s: float = 0.0
    """From disk into memory; the engine does nothing else."""
    verify_mb_s: float = float("inf")
    start_s: float = 0.0
    """Of a replica that died, until it takes requests again."""
    front_s: float = 0.0
    """Processor time of the front for one request, up to its first token."""
    front_token_s: float = 0.0
    """The same for each token that it passes on in a stream."""
    route_s: tuple[float, float] = (0.0, 0.0)
    """Of a decision for `model=auto`: without experts, and more for each expert."""

    def step(self, requests: int) -> float:
        return self.step_s + self.step_request_s * requests

    def request_s(self, prompt: float, answer: float, batch: int) -> float:
        """The engine's seconds for one request in batches of that size: 1 ÷ its capacity."""
        return prompt * self.prompt_token_s + (answer - 1) * self.step(batch) / batch

    def slower(self, times: float) -> Costs:
        """Of an engine that takes so many times as long; disk, network and front stay."""
        return replace(
            self,
            prompt_token_s=self.prompt_token_s * times,
            step_s=self.step_s * times,
            step_request_s=self.step_request_s * times,
        )


def measured(results: Path = RESULTS) -> Costs:
    """Of SmolLM2-135M on two cores, with experts of rank 16 on all projections (10 MB each)."""
    speed, serving, verify, router, front = (
        json.loads((results / f"{name}.json").read_text())
        for name in ("multi_lora", "serving", "verify", "router", "cluster_front")
    )
    step_s, step_request_s = _decode_line(speed["table"])
    first_token = serving["P6"]
    return Costs(
        prompt_token_s=1 / speed["rates"]["prefill ten"],
        step_s=step_s,
        step_request_s=step_request_s,
        activate_s=first_token["figures"]["P6"]["reactivation_ms"]["ms"] / 1000,
        load_s=first_token["beside"]["load_ms"]["ms"] / 1000,
        verify_mb_s=verify["rates"]["open, new"],
        start_s=median(serving["P14"]["raw"]["few"]),
        front_s=front["request_ms"]["ms"] / 1000,
        front_token_s=front["token_ms"]["ms"] / 1000,
        route_s=_route_line({n: router[f"P9 {n}"]["p50"] / 1000 for n in (10, 1000)}),
    )


def _decode_line(table: list[dict[str, Any]]) -> tuple[float, float]:
    """Seconds of a decode step: of any, and more for each request."""
    rows = [row for row in table if row["prompt"] == 32]
    batches = np.array([row["batch"] for row in rows], dtype=np.float64)
    steps = batches / np.array([row["decode"]["ours"] for row in rows])
    slope, start = np.polyfit(batches, steps, 1)
    return float(start), float(slope)


def _route_line(seconds: Mapping[int, float]) -> tuple[float, float]:
    (few, short), (many, long) = sorted(seconds.items())
    slope = (long - short) / (many - few)
    return short - slope * few, slope
