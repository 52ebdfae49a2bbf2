"""Sends them, and notes what becomes of them and of the neighbours."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx

from tests.e2e.counted import BASE, BASE_MESSAGES, Neighbours
from tests.e2e.hostile_requests.bodies import Body, bodies
from tests.e2e.hostile_requests.structures import structures
from tests.e2e.tally import PROBLEM, Outcome, Tally

AT_ONCE = 8
PATIENCE_S = 180.0
TRIES = 6
"""Of one that is told to come again: what nobody had the time to judge has shown nothing."""
PAUSE_S = 5.0
LARGE = 4 * 2**20
"""Bytes; what is larger is not read."""
UNREADABLE = "a request id"
"""A header that is refused before there is anything that could say so in OpenAI's shape."""
KINDS = ("bodies", "structures")


def spread(items: Sequence[Any], count: int | None) -> list[Any]:
    """So many of them, from everywhere; all for None."""
    if count is None or count >= len(items):
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def numbered(kind: str) -> list[tuple[str, Body]]:
    """All requests of a kind, each with a name of its own that stays the same."""
    sent = (
        [Body(name, "/v1/chat/completions", _chat(fields)) for name, fields in structures()]
        if kind == "structures"
        else list(bodies())
    )
    return [(f"{position} {body.name[:80]}", body) for position, body in enumerate(sent)]


def figures(tally: Tally) -> dict[str, Any]:
    """All of a run's figures, but those of its neighbours."""
    told = {}
    for kind in KINDS:
        by_status = Counter(str(outcome["status"]) for outcome in tally.of(kind))
        told[kind] = {"sent": by_status.total(), "by status": dict(sorted(by_status.items()))}
    return told


async def run(
    url: str,
    *,
    structure_count: int | None = None,
    body_count: int | None = None,
    seconds: float = math.inf,
    tally: Tally | None = None,
) -> Tally:
    """All of it on one server, beside neighbours, as far as it goes in this time and is not in the
    tally yet.
    """
    tally, end = tally or Tally(), time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=8)
    async with httpx.AsyncClient(limits=limits, timeout=PATIENCE_S) as http:
        neighbours, stop = Neighbours(http, url), asyncio.Event()
        await neighbours.learn()
        asking = asyncio.create_task(neighbours.ask_until(stop))
        try:
            for kind, count in zip(KINDS, (body_count, structure_count), strict=True):
                sent = spread(numbered(kind), count)
                await _send_all(neighbours, kind, sent, tally, end)
        finally:
            stop.set()
            await asking
        tally.note_neighbours(*neighbours.news())
        tally.write(figures(tally))
    return tally


def _chat(fields: dict[str, Any]) -> bytes:
    return json.dumps(
        {"model": BASE, "messages": BASE_MESSAGES, "max_tokens": 8, "temperature": 0, **fields}
    ).encode()


async def _send_all(
    neighbours: Neighbours,
    kind: str,
    sent: Sequence[tuple[str, Body]],
    tally: Tally,
    end: float,
) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def send(name: str, body: Body) -> None:
        async with room:
            if time.monotonic() <= end:
                tally.note(kind, name, await _judged(neighbours.http, neighbours.url, body))
                # With each case, so that a run that is cut off has shown what it has sent.
                tally.note_neighbours(*neighbours.news())
                tally.write(figures(tally))

    await asyncio.gather(*(send(n, body) for n, body in sent if not tally.has(kind, n)))


async def _judged(http: httpx.AsyncClient, url: str, body: Body) -> Outcome:
    for _ in range(TRIES - 1):
        outcome = await _outcome(http, url, body)
        if outcome["status"] != 503:
            return outcome
        await asyncio.sleep(PAUSE_S)
    return await _outcome(http, url, body)


async def _outcome(http: httpx.AsyncClient, url: str, body: Body) -> Outcome:
    begun = time.monotonic()
    try:
        answer = await http.post(f"{url}{body.path}", content=body.content, headers=body.headers)
    except httpx.HTTPError as error:
        if len(body.content) > LARGE:
            # It is refused by its length, and the line closed while it is still on it.
            return {"status": "413 or closed"}
        return {"status": "no answer", PROBLEM: repr(error)}
    outcome = {"status": answer.status_code, "seconds": round(time.monotonic() - begun, 1)}
    if answer.status_code == 503:
        outcome["reason"] = answer.text[:200]
    reason = _fault(answer, shaped=body.name != UNREADABLE)
    return outcome if reason is None else {**outcome, PROBLEM: reason}


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
