"""P11: whether the tokens of some experts wait while others are installed, loaded and unloaded.

Four streams for four experts run side by side; a round's figure is the 99th percentile of the gaps
between a stream's pieces, after all four have begun. In the rounds that are not quiet an
administrator works without a pause: he puts a new version of a package of 10 MB in the place of the
last, waits until it is served, loads it, unloads it, and begins anew. In a third kind of round,
beside the figure, he only loads and unloads, which is more than ten times as many loads.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from rounds import Ratio, interleave
from serving_bench import Bench, progress
from serving_client import Ask, Client, random_ids
from serving_experts import names, packed, weights, write_expert
from serving_figures import Finding, figure, percentile

from hive_expert.package.pack import build_package

TARGET = 1.2
STREAMS = 4
CHANGED = "expert-changed"
LOADED = "expert-loaded"

Work = Callable[[], Coroutine[Any, Any, None]]
"""Something that goes on until it is cancelled."""


def measure(bench: Bench) -> Finding:
    rounds, tokens = (2, 200) if bench.quick else (5, 300)
    experts = names(STREAMS)
    folder = bench.made("churn")
    packed(bench, folder, [*experts, LOADED])
    versions = _versions(bench, 40 if bench.quick else 100)
    with bench.hive(folder) as server, Client(server.api) as client:
        streams = Streams(client, experts, tokens)
        changes = Changes(client, folder, versions)
        subjects: dict[str, Callable[[], float]] = {
            "quiet": partial(streams.p99, None),
            "quiet again": partial(streams.p99, None),
            "installs": partial(streams.p99, changes.install),
            "loads": partial(streams.p99, changes.load),
        }
        streams.p99(changes.install)
        changes.counts.clear()
        streams.gaps.clear()
        raw = interleave(subjects, rounds, tell=_tell)
    return found(raw, changes.counts, streams.gaps)


def _versions(bench: Bench, count: int) -> list[Path]:
    """Packages of one expert in ever higher versions."""
    folder = bench.made("versions")
    tensors = weights(bench.base, 99)
    packages = []
    for number in range(count):
        directory = write_expert(folder, CHANGED, tensors, version=f"0.{number}.0")
        package = build_package(directory, model=None, output=folder, signer=bench.signer)
        shutil.rmtree(directory)
        packages.append(package.path)
    return packages


@dataclass
class Changes:
    """What the administrator does, again and again, until he is cancelled."""

    client: Client
    folder: Path
    versions: list[Path]
    counts: dict[str, int] = field(default_factory=dict)

    async def install(self) -> None:
        while self.versions:
            package = self.versions.pop(0)
            version = package.name.partition(".v")[2].removesuffix(".expert")
            package.replace(self.folder / f"{CHANGED}.expert")
            while not await self._served(version):
                await asyncio.sleep(0.1)
            await self._load_and_unload(CHANGED)
            self._count("installs")

    async def load(self) -> None:
        while True:
            await self._load_and_unload(LOADED)
            self._count("loads")

    async def _load_and_unload(self, name: str) -> None:
        await self.client.post(f"experts/{name}/load")
        await self.client.post(f"experts/{name}/unload")

    async def _served(self, version: str) -> bool:
        status, expert = await self.client.get(f"experts/{CHANGED}")
        return bool(status == 200 and expert.get("version") == version)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


@dataclass
class Streams:
    """Requests that are answered side by side."""

    client: Client
    experts: list[str]
    tokens: int
    gaps: dict[str, list[float]] = field(default_factory=dict)
    """Medians by what went on beside them."""
    random: Random = field(default_factory=lambda: Random(0))

    def p99(self, beside: Work | None) -> float:
        """Seconds between two pieces of a stream: the 99th percentile over all streams."""
        gaps = self.client.run(self._run(beside))
        name = getattr(beside, "__name__", "quiet")
        self.gaps.setdefault(name, []).append(median(gaps))
        return percentile(gaps, 0.99)

    async def _run(self, beside: Work | None) -> list[float]:
        asks = [Ask(name, random_ids(self.random, 32), self.tokens) for name in self.experts]
        work = asyncio.create_task(beside()) if beside else None
        replies = await asyncio.gather(*(self.client.streamed(ask) for ask in asks))
        if work is not None:
            if work.done():
                work.result()
            work.cancel()
            await asyncio.wait([work])
        begun = max(reply.first_s for reply in replies)
        return gaps_after(begun, [reply.arrivals for reply in replies])


def gaps_after(begun: float, streams: list[tuple[float, ...]]) -> list[float]:
    """Between neighbours of each stream that both arrived at `begun` or later."""
    return [b - a for arrivals in streams for a, b in pairwise(arrivals) if a >= begun]


def found(
    raw: dict[str, list[float]], counts: dict[str, int], medians: dict[str, list[float]]
) -> Finding:
    """The figures, from 99th percentiles by subject and round."""
    return Finding(
        {"P11": figure(Ratio.of(raw["installs"], raw["quiet"]), TARGET, "at most")},
        {
            "loads and unloads without installs ÷ quiet": asdict(
                Ratio.of(raw["loads"], raw["quiet"])
            ),
            "A/A": asdict(Ratio.of(raw["quiet again"], raw["quiet"])),
            "done": counts,
            "median_gap_ms": {name: 1000 * median(values) for name, values in medians.items()},
            "p99_gap_ms": {name: 1000 * median(values) for name, values in raw.items()},
        },
        raw,
    )


def _tell(line: str) -> None:
    progress.print(f"P11: {line}")
