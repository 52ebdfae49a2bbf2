"""Clients and operations together, and the verdict on all answers."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from hive_expert.package.keys import SigningKey
from tests.e2e.chaos.clients import Clients, Ledger
from tests.e2e.chaos.directory import ANCHOR, CHANGING, Directory
from tests.e2e.chaos.experts import Reference

CLIENTS = 16
PAUSE_S = 0.15
"""Between two operations, on average."""

Fault = Callable[[Directory, Ledger], Awaitable[None]]


@dataclass
class Outcome:
    """All that happened, and what was wrong with it."""

    ledger: Ledger = field(default_factory=Ledger)
    operations: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        ledger = self.ledger
        return not (self.wrong or ledger.stale or ledger.lost or ledger.hung or self.problems)

    def judge(self, reference: Reference) -> None:
        """Compare every answer with what its weights must say."""
        for answer, given in self.ledger.answers.items():
            self.wrong += [
                f"{answer}: {logprobs}"
                for logprobs in given
                if not reference.is_right(answer, logprobs)
            ]

    def summary(self) -> dict[str, Any]:
        ledger = self.ledger
        seconds = sorted(ledger.seconds) or [0.0]
        return {
            "requests": ledger.total,
            "by status": dict(sorted(ledger.statuses.items())),
            "clients that left": ledger.left,
            "connections broken while it was down": ledger.broken,
            "answers": sum(map(len, ledger.answers.values())),
            "distinct answers": len(ledger.answers),
            "wrong expert": len(self.wrong),
            "stale": len(ledger.stale),
            "lost": len(ledger.lost),
            "hung": len(ledger.hung),
            "operations": dict(sorted(self.operations.items())),
            "operations that failed": len(self.problems),
            "seconds p50": round(statistics.median(seconds), 2),
            "seconds max": round(seconds[-1], 2),
            "ok": self.ok,
        }

    def complaint(self) -> str:
        """The first few things that were wrong."""
        ledger = self.ledger
        found = [*self.wrong, *ledger.stale, *ledger.lost, *ledger.hung, *self.problems]
        return "\n".join([json.dumps(self.summary(), indent=2), *found[:10]])


async def run(
    url: str,
    folder: Path,
    signer: SigningKey,
    reference: Reference,
    *,
    seconds: float,
    seed: int,
    fault: Fault | None = None,
    outcome: Outcome | None = None,
) -> Outcome:
    """Let clients ask and operations happen for some time, and see that all of it ends.

    Args:
        fault: happens beside it, again and again until the time is over.
    """
    outcome = outcome or Outcome()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(limits=limits, timeout=httpx.Timeout(120)) as http:
        directory = Directory(
            folder, url, signer, random.Random(seed), http, dying=lambda: outcome.ledger.dying
        )
        directory.write_anchor()
        await directory.rescan("")
        stop = asyncio.Event()
        clients = [
            Clients(
                url,
                http,
                reference.prompts,
                directory.known,
                outcome.ledger,
                random.Random(seed + i),
            )
            for i in range(1, CLIENTS + 1)
        ]
        asking = [asyncio.create_task(client.ask_until(stop)) for client in clients]
        operating = asyncio.create_task(_operate(directory, stop, outcome))
        try:
            if fault is None:
                await asyncio.sleep(seconds)
            else:
                await _again_and_again(fault, seconds, directory, outcome.ledger)
        finally:
            stop.set()
            await asyncio.gather(*asking, operating)
        outcome.operations += directory.done
        outcome.problems += directory.problems
    return outcome


async def _again_and_again(
    fault: Fault, seconds: float, directory: Directory, ledger: Ledger
) -> None:
    end = time.monotonic() + seconds
    while True:
        await fault(directory, ledger)
        if time.monotonic() >= end:
            return


async def clear(url: str, folder: Path) -> None:
    """Leave a server as it was before."""
    async with httpx.AsyncClient(timeout=60) as http:
        for name in CHANGING:
            await http.post(f"{url}/v1/experts/{name}/unpin")
        for name in (*CHANGING, ANCHOR):
            (folder / f"{name}.expert").unlink(missing_ok=True)
            (folder / f".{name}.partial").unlink(missing_ok=True)
        await http.post(f"{url}/v1/experts/rescan")


async def _operate(directory: Directory, stop: asyncio.Event, outcome: Outcome) -> None:
    while not stop.is_set():
        try:
            await directory.step()
        except httpx.HTTPError as error:
            if not outcome.ledger.dying:
                directory.problems.append(repr(error))
        await asyncio.sleep(directory.random.expovariate(1 / PAUSE_S))
