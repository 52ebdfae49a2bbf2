"""What figures of batches are taken on: a server, a few experts, and a batch for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from jobs_batches import Batches, write_batch
from serving_bench import Bench
from serving_client import Ask, Client, random_chat
from serving_experts import names, packed

EXPERTS = 4
PLACES = 64
"""Of the engine: hive-serve's own default."""
WORDS = 60
"""Of a request."""


@dataclass(frozen=True)
class Scene:
    """A server with some experts, and a batch for them that can be ordered there."""

    experts: list[str]
    asks: list[Ask]
    """What the batch asks, by turns of the experts."""
    file: Path
    batches: Batches
    client: Client


@contextmanager
def scene(bench: Bench, name: str, requests: int, tokens: int) -> Iterator[Scene]:
    """Start hive-serve as users do; the batch has chats of so many tokens of answer."""
    experts, random = names(EXPERTS), Random(0)
    folder = bench.made(name)
    packed(bench, folder, experts)
    asks = [Ask(experts[n % EXPERTS], random_chat(random, WORDS), tokens) for n in range(requests)]
    file = write_batch(bench.folder / f"{name}.jsonl", asks)
    with bench.hive(folder, jobs=True) as server, Client(server.api) as client:
        yield Scene(experts, asks, file, Batches(server.url), client)
