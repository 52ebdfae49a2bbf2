"""Do clients notice when replicas are replaced, and when they come and go? On real engines.

Four clients ask one after another, two of them for streams, for as long as it takes. Meanwhile
`rolling` has both of two replicas replaced (SIGUSR1), `ahead` the only one of a server that has
room for a second, and `scaling` lets a server with the preset of `configs/` go from one replica to
two and, when one client is left, back to one.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import rich_click as click
from serving import machine, store
from serving_bench import Bench, end_as_usual_on_sigterm, progress
from serving_client import Ask, random_chat
from serving_experts import names, packed

from hive_expert.adapters.base_model import DEFAULT, resolve_base
from hive_expert.serving.local_server import LocalServer

RESULTS = Path(__file__).parent / "results"
PRESET = Path(__file__).parents[1] / "configs" / "cpu-smollm2-replicas.toml"

CLIENTS, EXPERTS = 4, 4
WORDS, TOKENS = 20, 24
LIMIT_S = 420.0
"""For anything that is waited for."""
_REPLICA = re.compile(r'^hive_requests_present\{replica="([^"]+)"', re.MULTILINE)


@dataclass
class Seen:
    """What clients have met."""

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """By what it was."""
    longest_s: float = 0.0
    """That one had to wait for its whole answer."""

    def asdict(self) -> dict[str, Any]:
        return asdict(self) | {"failed": dict(self.failed), "all_failed": self.failed.total()}


async def ask(session: aiohttp.ClientSession, url: str, request: Ask, stream: bool) -> str:
    """What is wrong with an answer; nothing, if it is whole."""
    body = request.body | {"stream": stream}
    async with session.post(f"{url}/v1/{request.path}", json=body) as answer:
        text = (await answer.read()).decode()
        if answer.status != 200:
            return f"{answer.status}: {text[:200]}"
        if not stream:
            told = json.loads(text)["usage"]["completion_tokens"]
            return "" if told == request.tokens else f"{told} tokens"
        events = [line for line in text.split("\n") if line]
        if any(event.startswith('data: {"error"') for event in events):
            return "a stream that broke off"
        return "" if events[-1:] == ["data: [DONE]"] else "a stream without an end"


async def client(url: str, number: int, seen: Seen, done: asyncio.Event) -> None:
    """Ask until told to stop."""
    random, experts = Random(number), names(EXPERTS)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT_S)) as session:
        while not done.is_set():
            request = Ask(random.choice(experts), random_chat(random, WORDS), TOKENS)
            began = time.perf_counter()
            try:
                wrong = await ask(session, url, request, stream=number % 2 == 1)
            except (aiohttp.ClientError, TimeoutError) as error:
                wrong = repr(error)
            seen.longest_s = max(seen.longest_s, time.perf_counter() - began)
            if wrong:
                seen.failed[wrong] += 1
            else:
                seen.answered += 1


@asynccontextmanager
async def clients(url: str, count: int, seen: Seen) -> AsyncIterator[None]:
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(client(url, number, seen, done))
        try:
            yield
        finally:
            done.set()


async def replicas(url: str) -> frozenset[str]:
    """Those that answer."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        return frozenset(_REPLICA.findall(await answer.text())) - {"front"}


async def until(url: str, there: Callable[[frozenset[str]], bool]) -> float:
    """Wait until the replicas are such; the seconds it took."""
    began = time.perf_counter()
    while not there(now := await replicas(url)):
        if time.perf_counter() - began > LIMIT_S:
            raise TimeoutError(f"there are still {len(now)} replicas")
        await asyncio.sleep(0.5)
    return time.perf_counter() - began


async def replacement(server: LocalServer) -> dict[str, Any]:
    """Replace all replicas once, while clients ask."""
    seen = Seen()
    async with clients(server.url, CLIENTS, seen):
        await asyncio.sleep(10)
        before, quiet = await replicas(server.url), seen.asdict()
        seen.longest_s = 0.0
        server.process.send_signal(signal.SIGUSR1)
        count = len(before)
        seconds = await until(server.url, lambda now: len(now) == count and not now & before)
        await asyncio.sleep(5)
    return {
        "replicas": count,
        "seconds": seconds,
        "before": quiet,
        "all": seen.asdict(),
    }


async def coming_and_going(server: LocalServer) -> dict[str, Any]:
    """More clients than one replica should have, then one alone."""
    many, one = Seen(), Seen()
    async with clients(server.url, CLIENTS, many):
        up_s = await until(server.url, lambda now: len(now) == 2)
        await asyncio.sleep(10)
    async with clients(server.url, 1, one):
        down_s = await until(server.url, lambda now: len(now) == 1)
        await asyncio.sleep(5)
    return {
        "up_seconds": up_s,
        "down_seconds": down_s,
        "four": many.asdict(),
        "one": one.asdict(),
    }


ONE_CORE = ("--replica-cpus", "1", "--max-num-seqs", "8")
CHANGES: dict[str, tuple[tuple[str, ...], Callable[[LocalServer], Any]]] = {
    "rolling": (("--replicas", "2", *ONE_CORE), replacement),
    "ahead": (("--replicas", "1", *ONE_CORE), replacement),
    "scaling": (
        (
            *("--config", str(PRESET), "--max-replicas", "2", "--requests-per-replica", "2"),
            *("--scale-up-seconds", "5", "--scale-down-seconds", "20"),
        ),
        coming_and_going,
    ),
}


@click.command()
@click.option(
    "--only", type=click.Choice(list(CHANGES)), help="The stored result keeps the others."
)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(only: str | None, as_json: bool, output: Path) -> None:
    """Change replicas under load and count failed requests; writes replicas_change.json.

    \b
    Examples:
      python benchmarks/replicas_change.py
      python benchmarks/replicas_change.py --only scaling --json | tail -n 1
    """
    end_as_usual_on_sigterm()
    output.mkdir(parents=True, exist_ok=True)
    base, found = resolve_base(DEFAULT).directory, {}
    for name in (only,) if only else tuple(CHANGES):
        options, change = CHANGES[name]
        with tempfile.TemporaryDirectory(prefix="hive-replicas-") as folder:
            bench = Bench(base, Path(folder), quick=False)
            experts = bench.made("experts")
            packed(bench, experts, names(EXPERTS))
            with bench.hive(experts, *options) as server:
                progress.print(f"{name} …")
                found[name] = asyncio.run(change(server)) | {"machine": machine()}
        store(output / "replicas_change.json", found)
        progress.print_json(data=found[name])
    if as_json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
