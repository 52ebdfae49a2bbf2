"""Asks under many schemas and notes what the answers are."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx
import jsonschema

from tests.e2e.counted import Neighbours
from tests.e2e.prompt_bound import hostile, json_schemas, sql_schemas
from tests.e2e.prompt_bound.figures import HOSTILE, JSON, SQL, cost, figures
from tests.e2e.tally import PROBLEM, Outcome, Tally

AT_ONCE = 12
HOSTILE_AT_ONCE = 4
MAX_TOKENS = 400
GRAMMAR = "x-hive-grammar"

Case: TypeAlias = Callable[[], Coroutine[Any, Any, Outcome]]


@dataclass
class Asker:
    """Requests to one server, and the cases that they are for."""

    http: httpx.AsyncClient
    url: str
    tally: Tally
    end: float = math.inf
    """When no further case is begun, by the monotonic clock."""

    async def cases(self, part: str, asked: Sequence[Case], *, at_once: int = AT_ONCE) -> None:
        """Ask what is not known yet, so many at once, as far as the time goes."""
        room = asyncio.Semaphore(at_once)

        async def one(case: str, ask: Case) -> None:
            async with room:
                if time.monotonic() <= self.end:
                    self.tally.note(part, case, await ask())
                    self.tally.write(figures(self.tally))

        numbered = ((str(position), ask) for position, ask in enumerate(asked))
        await asyncio.gather(*(one(c, ask) for c, ask in numbered if not self.tally.has(part, c)))

    async def ask(
        self, model: str, messages: Any, *, bound: bool = True, **options: Any
    ) -> httpx.Response:
        headers = {} if bound else {GRAMMAR: "off"}
        body = {"model": model, "messages": messages, **options}
        return await self.http.post(
            f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=600
        )


async def json_case(asker: Asker, schema: dict[str, Any], text: str) -> Outcome:
    """expert-json under one schema, asked for twice."""
    written = json.dumps(schema, separators=(",", ":"))
    messages = [
        {"role": "system", "content": f"Dialect: json\nSchema:\n{written}"},
        {"role": "user", "content": text},
    ]
    response = await asker.ask("expert-json", messages, temperature=0, max_tokens=MAX_TOKENS)
    again = await asker.ask("expert-json", messages, temperature=0, max_tokens=1)
    if response.status_code != 200 or again.status_code != 200:
        return {PROBLEM: f"{response.status_code} {response.text[:200]}: {written}"}
    told = [asked.headers[GRAMMAR] for asked in (response, again)]
    choice = response.json()["choices"][0]
    reason = _json_reason(schema, choice["message"]["content"])
    found = {
        "bound to their schema": told[0].startswith("prompt: "),
        "valid": reason is None,
        "cut off by the limit of tokens": choice["finish_reason"] == "length",
        "tokens": response.json()["usage"]["completion_tokens"],
        **cost(told),
    }
    if reason is not None or not found["bound to their schema"]:
        found[PROBLEM] = f"{reason}; {told[0]}; {choice['message']['content']}; under {written}"
    return found


def _json_reason(schema: dict[str, Any], text: str) -> str | None:
    try:
        value = json.loads(text)
    except ValueError as error:
        return f"not JSON: {error}"
    kind = jsonschema.Draft202012Validator
    broken = next(kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(value), None)
    return None if broken is None else f"{broken.json_path}: {broken.message}"


async def sql_case(asker: Asker, case: sql_schemas.SqlCase) -> Outcome:
    """expert-sql under one schema, and the same without its grammar."""
    messages = [
        {"role": "system", "content": f"Dialect: sqlite\nSchema:\n{case.written}"},
        {"role": "user", "content": case.question},
    ]
    bound, free = [
        await asker.ask("expert-sql", messages, bound=bound, temperature=0)
        for bound in (True, False)
    ]
    for response in (bound, free):
        if response.status_code != 200:
            return {PROBLEM: f"{response.status_code} {response.text[:200]}"}
    found: dict[str, Any] = _sql_facts(bound, case)
    found["bound to their schema"] = bound.headers[GRAMMAR].startswith("prompt: ")
    found |= cost([bound.headers[GRAMMAR]])
    if found["with unknown names"] or not found["bound to their schema"]:
        found[PROBLEM] = f"{bound.headers[GRAMMAR]}; {_content(bound)}; under {case.written}"
    return found | {
        f"without grammar: {key}": value for key, value in _sql_facts(free, case).items()
    }


def _sql_facts(response: httpx.Response, case: sql_schemas.SqlCase) -> dict[str, bool]:
    text = _content(response)
    return {
        "with unknown names": sql_schemas.unknown_names(text, case.tables) != [],
        "executable": sql_schemas.executes(text, case.tables),
    }


def _content(response: httpx.Response) -> str:
    return str(response.json()["choices"][0]["message"]["content"])


async def hostile_case(asker: Asker, kind: str, name: str, text: Any) -> Outcome:
    """A schema against which the server must stand; it may be refused, or bind nothing."""
    messages = hostile.messages(kind, text)
    response = await asker.ask(f"expert-{kind}", messages, temperature=0, max_tokens=8)
    if response.status_code == 200:
        bound = response.headers[GRAMMAR].startswith("prompt: ")
        return {"schema": name, "outcome": "bound" if bound else "answered without it"}
    if 400 <= response.status_code < 500 and "error" in response.json():
        return {"schema": name, "outcome": f"refused with {response.status_code}"}
    return {
        "schema": name,
        "outcome": "harm",
        PROBLEM: f"{name}: {response.status_code} {response.text[:300]}",
    }


def _hostile(limit: int | None) -> list[tuple[str, str, Any]]:
    """(expert's kind, name, text of the schema): about so many, from everywhere; None: all."""
    known = [("json", *item) for item in hostile.JSON_SCHEMAS.items()]
    known += [("sql", *item) for item in hostile.SQL_SCHEMAS.items()]
    return known[:: max(1, len(known) // limit)] if limit else known


async def run(
    url: str,
    *,
    json_count: int,
    sql_count: int,
    hostile_count: int | None = None,
    seed: int = 0,
    seconds: float = math.inf,
    tally: Tally | None = None,
) -> Tally:
    """All of it on one server, as far as it goes in this time and is not in the tally yet.

    Args:
        hostile_count: hostile schemas, about; None: all.
    """
    tally = tally or Tally()
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as http:
        asker = Asker(http, url, tally, time.monotonic() + seconds)
        json_cases = json_schemas.cases(json_count, seed)
        sql_cases = sql_schemas.cases(sql_count, seed)
        await asker.cases(SQL, [_later(sql_case, asker, case) for case in sql_cases])
        await asker.cases(JSON, [_later(json_case, asker, *case) for case in json_cases])
        neighbours, stop = Neighbours(http, url), asyncio.Event()
        await neighbours.learn()
        asking = asyncio.create_task(neighbours.ask_until(stop))
        try:
            asked = [_later(hostile_case, asker, *item) for item in _hostile(hostile_count)]
            await asker.cases(HOSTILE, asked, at_once=HOSTILE_AT_ONCE)
        finally:
            stop.set()
            await asking
        tally.note_neighbours(*neighbours.news())
        tally.write(figures(tally))
    return tally


def _later(case: Callable[..., Coroutine[Any, Any, Outcome]], *arguments: Any) -> Case:
    return lambda: case(*arguments)
