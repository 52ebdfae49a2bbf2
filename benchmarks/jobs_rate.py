"""P16: what a batch of requests takes, beside what the same requests take that are sent directly.

Directly, so many clients as a batch may have requests in the engine send their next when they have
an answer. The batch's time is from the order (its file is uploaded then) to its end, when its
output file can be fetched. In both, somebody else asks for a short answer once a second.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from random import Random
from statistics import median

from jobs_scene import EXPERTS, PLACES, Scene, scene
from rounds import Ratio, interleave
from serving_bench import Bench, progress
from serving_client import Ask, Client, random_ids, settle
from serving_figures import Finding, figure

from hive_expert.jobs.admission import room_of

TARGET = 0.95
TOKENS = 48
"""Of an answer."""
EVERY_S = 1.0
"""Somebody else asks so often."""
LENGTH, ANSWER = 128, 8
"""Tokens of what they ask, and of their answer."""


@dataclass(frozen=True)
class Sizes:
    rounds: int
    requests: int


QUICK = Sizes(rounds=1, requests=96)
FULL = Sizes(rounds=2, requests=240)


def measure(bench: Bench) -> Finding:
    sizes = QUICK if bench.quick else FULL
    clients = room_of(PLACES).jobs
    with scene(bench, "rate", sizes.requests, TOKENS) as here:
        here.client.load(here.asks[: 2 * EXPERTS], EXPERTS)
        someone = Someone(here)
        directly = partial(_directly, here, clients, someone)
        subjects: dict[str, Callable[[], float]] = {
            "batch": partial(_as_batch, here, someone),
            "directly": directly,
            "directly again": directly,
        }
        raw = interleave(subjects, sizes.rounds, tell=lambda line: progress.print(f"P16: {line}"))
    return Finding(
        {"P16": figure(Ratio.of(raw["batch"], raw["directly"]), TARGET, "at least")},
        {
            "A/A": asdict(Ratio.of(raw["directly again"], raw["directly"])),
            "first token of somebody else, median ms": {
                beside: 1000 * median(first_s) for beside, first_s in someone.first_s.items()
            },
        },
        raw,
    )


def _as_batch(here: Scene, someone: Someone) -> float:
    """Requests per second."""
    settle()
    count, file_id = len(here.asks), here.batches.upload(here.file)
    with someone.asking("batch"):
        began = time.perf_counter()
        batch = here.batches.ended(here.batches.make(file_id))
        seconds = time.perf_counter() - began
    assert batch["request_counts"] == {"total": count, "completed": count, "failed": 0}, batch
    assert batch["usage"]["output_tokens"] == count * TOKENS
    return count / seconds


def _directly(here: Scene, clients: int, someone: Someone) -> float:
    settle()
    with someone.asking("directly"):
        seconds, replies = here.client.load(here.asks, clients)
    assert all(reply.tokens == TOKENS for reply in replies)
    return len(here.asks) / seconds


class Someone:
    """Asks once a second, in a thread of its own, whether the last answer is there or not.

    Who waited for his answer before he asks again would ask more where he is answered sooner, which
    is beside the batch, and take the more from it.
    """

    def __init__(self, here: Scene) -> None:
        self.first_s: dict[str, list[float]] = {"batch": [], "directly": []}
        self._api = f"{here.batches.client.url}/v1"
        self._model = here.experts[0]
        self._random = Random(2)

    @contextmanager
    def asking(self, beside: str) -> Iterator[None]:
        done = threading.Event()
        thread = threading.Thread(target=self._ask_until, args=(done, self.first_s[beside]))
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _ask_until(self, done: threading.Event, first_s: list[float]) -> None:
        with Client(self._api) as client:
            client.run(self._every_second(client, done, first_s))

    async def _every_second(
        self, client: Client, done: threading.Event, first_s: list[float]
    ) -> None:
        async with asyncio.TaskGroup() as asking:
            while not done.is_set():
                asking.create_task(self._ask(client, first_s))
                await asyncio.sleep(EVERY_S)

    async def _ask(self, client: Client, first_s: list[float]) -> None:
        ask = Ask(self._model, random_ids(self._random, LENGTH), ANSWER)
        first_s.append((await client.streamed(ask)).first_s)
