"""Sends them, and counts what becomes of them and of the neighbours."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.e2e.counted import BASE, BASE_MESSAGES, Neighbours
from tests.e2e.hostile_requests.bodies import Body, bodies
from tests.e2e.hostile_requests.structures import structures

AT_ONCE = 3
PATIENCE_S = 180.0
LARGE = 4 * 2**20
"""Bytes; what is larger is not read."""
UNREADABLE = ("a request id", "a number of 100,000 digits")
"""Names of what is refused before there is a handler that could say so in OpenAI's shape."""


@dataclass
class Counted:
    """What was found out; `wrong` has a line for whatever should not be."""

    figures: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def spread(items: Sequence[Any], count: int | None) -> list[Any]:
    """So many of them, from everywhere; all for None."""
    if count is None or count >= len(items):
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


async def run(
    url: str,
    *,
    structure_count: int | None = None,
    body_count: int | None = None,
    seconds: float = math.inf,
) -> Counted:
    """All of it on one server, beside neighbours, as far as it goes in this time."""
    counted, end = Counted(), time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=8)
    async with httpx.AsyncClient(limits=limits, timeout=PATIENCE_S) as http:
        neighbours, stop = Neighbours(http, url), asyncio.Event()
        await neighbours.learn()
        asking = asyncio.create_task(neighbours.ask_until(stop))
        try:
            grammars = [
                Body(name, "/v1/chat/completions", _chat(fields)) for name, fields in structures()
            ]
            chosen = {
                "bodies": spread(list(bodies()), body_count),
                "structures": spread(grammars, structure_count),
            }
            for kind, sent in chosen.items():
                counted.figures[kind] = await _send_all(http, url, sent, counted, end)
        finally:
            stop.set()
            await asking
        counted.wrong += neighbours.changed
        counted.figures["neighbours"] = {
            "answers": neighbours.answered,
            "changed": len(neighbours.changed),
        }
    return counted


def _chat(fields: dict[str, Any]) -> bytes:
    return json.dumps(
        {"model": BASE, "messages": BASE_MESSAGES, "max_tokens": 8, "temperature": 0, **fields}
    ).encode()


async def _send_all(
    http: httpx.AsyncClient, url: str, sent: Sequence[Body], counted: Counted, end: float
) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    room = asyncio.Semaphore(AT_ONCE)

    async def send(body: Body) -> None:
        async with room:
            if time.monotonic() > end:
                outcomes["not sent for want of time"] += 1
                return
            try:
                answer = await http.post(
                    f"{url}{body.path}", content=body.content, headers=body.headers
                )
            except httpx.HTTPError as error:
                if len(body.content) > LARGE:
                    # It is refused by its length, and the line closed while it is still on it.
                    outcomes["413 or closed"] += 1
                    return
                outcomes["no answer"] += 1
                counted.wrong.append(f"{body.name}: {error!r}")
                return
        outcomes[str(answer.status_code)] += 1
        reason = _fault(answer, shaped=not body.name.startswith(UNREADABLE))
        if reason is not None:
            counted.wrong.append(f"{body.name}: {reason}")

    await asyncio.gather(*map(send, sent))
    left = outcomes["not sent for want of time"]
    return {"sent": len(sent) - left, "by status": dict(sorted(outcomes.items()))}


def _fault(answer: httpx.Response, *, shaped: bool) -> str | None:
    """Why this is no answer of a sound server: an error of its own, or one without its reason."""
    if answer.status_code >= 500 and answer.status_code != 503:
        return f"{answer.status_code} {answer.text[:300]}"
    if answer.status_code >= 400 and shaped:
        try:
            answer.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            return f"{answer.status_code} without its reason: {answer.text[:200]}"
    return None
