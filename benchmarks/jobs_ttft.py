"""P15: the time to the first token of somebody who waits, beside a batch that has all the room that
batches may have.

One client sends one request after another, each with a prompt of its own and for one token. In a
round it does so quietly, quietly once more (A/A), and beside a batch, in an order that changes.
The figure of a round is the 99th percentile of its requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random
from statistics import median

from jobs_batches import Batches, metric
from jobs_scene import PLACES, scene
from rounds import Ratio, interleave
from serving_bench import Bench, progress
from serving_client import Ask, Client, random_ids, settle
from serving_figures import Finding, figure, percentile

from hive_expert.jobs.admission import room_of

TARGET = 1.5
LENGTH = 256
"""Prompt tokens of who waits."""
TOKENS = 64
"""Of the answers of the batch."""


@dataclass(frozen=True)
class Sizes:
    rounds: int
    requests: int
    """Of who waits, in each subject of a round."""


QUICK = Sizes(rounds=2, requests=30)
FULL = Sizes(rounds=3, requests=100)
BATCH = 4000
"""Requests of the batch: more than are answered while somebody waits."""


def measure(bench: Bench) -> Finding:
    sizes = QUICK if bench.quick else FULL
    with scene(bench, "ttft", BATCH, TOKENS) as here:
        waiting = Waiting(here.client, here.experts[0], sizes.requests, here.batches)
        waiting.quiet()
        subjects: dict[str, Callable[[], float]] = {
            "quiet": waiting.quiet,
            "quiet again": waiting.quiet,
            "beside a batch": partial(waiting.beside, here.file),
        }
        raw = interleave(subjects, sizes.rounds, tell=lambda line: progress.print(f"P15: {line}"))
    return found(raw, waiting)


class Waiting:
    """Somebody who waits for first tokens."""

    def __init__(self, client: Client, model: str, count: int, batches: Batches) -> None:
        self._client = client
        self._model = model
        self._count = count
        self._batches = batches
        self._random = Random(1)
        self.medians: dict[str, list[float]] = {"quiet": [], "beside a batch": []}
        self.rates: list[float] = []
        """Tokens per second of the batch meanwhile, prompts and answers."""

    def quiet(self) -> float:
        settle()
        return self._p99("quiet")

    def beside(self, file: Path) -> float:
        # One place less than batches may have is theirs while somebody waits.
        full = room_of(PLACES).jobs - 1
        with self._batches.beside(file, full):
            before, began = self._engine_tokens(), time.perf_counter()
            seconds = self._p99("beside a batch")
            own = self._count * (LENGTH + 1)
            tokens = self._engine_tokens() - before - own
            self.rates.append(tokens / (time.perf_counter() - began))
        return seconds

    def _engine_tokens(self) -> float:
        """By the engine's own count: that of batches has a request's tokens when it is done."""
        names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
        return sum(metric(self._batches.client.url, name) for name in names)

    def _p99(self, where: str) -> float:
        """Seconds to the first token that all but one in a hundred stay within."""
        times = []
        for _ in range(self._count):
            ask = Ask(self._model, random_ids(self._random, LENGTH), tokens=1)
            times.append(self._client.ask(ask, stream=True).first_s)
        self.medians[where].append(median(times))
        return percentile(times, 0.99)


def found(raw: dict[str, list[float]], waiting: Waiting) -> Finding:
    """The figure, from seconds by subject and round."""
    ratio = Ratio.of(raw["beside a batch"], raw["quiet"])
    quiet, busy = (median(waiting.medians[where]) for where in ("quiet", "beside a batch"))
    return Finding(
        {"P15": figure(ratio, TARGET, "at most")},
        {
            "A/A": asdict(Ratio.of(raw["quiet again"], raw["quiet"])),
            "median, quiet and beside a batch, ms": [1000 * quiet, 1000 * busy],
            "tokens/s of the batch meanwhile": waiting.rates,
        },
        raw,
    )
