"""Asks under many schemas and counts what the answers are."""

from __future__ import annotations

import asyncio
import json
import math
import re
import statistics
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonschema

from tests.e2e.counted import Neighbours
from tests.e2e.prompt_bound import hostile, json_schemas, sql_schemas

AT_ONCE = 12
_COMPILED = re.compile(r"compiled in ([0-9.]+) ms")


@dataclass
class Counted:
    """What was found out; `wrong` has a line for whatever should not be."""

    figures: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    compile_ms: list[float] = field(default_factory=list)
    known: int = 0

    def note_cost(self, decoding: str) -> None:
        """Of binding one request, from its debug header."""
        if (found := _COMPILED.search(decoding)) is not None:
            self.compile_ms.append(float(found[1]))
        elif "; known" in decoding:
            self.known += 1

    def costs(self) -> dict[str, Any]:
        ordered = sorted(self.compile_ms) or [0.0]
        return {
            "grammars compiled": len(self.compile_ms),
            "cache hits": self.known,
            "compile ms p50": round(statistics.median(ordered), 1),
            "compile ms p99": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], 1),
        }


@dataclass
class Asker:
    """Requests to one server, with the debug header."""

    http: httpx.AsyncClient
    url: str
    end: float = math.inf
    """When no further case is begun, by the monotonic clock."""
    _cases: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    @property
    def late(self) -> bool:
        return time.monotonic() > self.end

    async def case(self, asked: Coroutine[Any, Any, Counter[str]]) -> Counter[str]:
        """What a case counts, one of so many at once; nothing where the time is over."""
        async with self._cases:
            if self.late:
                asked.close()
                return Counter()
            return Counter({"asked": 1}) + await asked

    async def ask(
        self, model: str, messages: Any, *, bound: bool = True, **options: Any
    ) -> httpx.Response:
        headers = {"x-hive-debug": "1"} | ({} if bound else {"x-hive-grammar": "off"})
        body = {"model": model, "messages": messages, **options}
        return await self.http.post(
            f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=600
        )


async def count_json(asker: Asker, count: int, seed: int, counted: Counted) -> None:
    """expert-json under `count` different schemas, each asked for twice."""
    cases = list(json_schemas.cases(count, seed))

    async def one(schema: dict[str, Any], text: str) -> Counter[str]:
        written = json.dumps(schema, separators=(",", ":"))
        messages = [
            {"role": "system", "content": f"Dialect: json\nSchema:\n{written}"},
            {"role": "user", "content": text},
        ]
        response = await asker.ask("expert-json", messages, temperature=0, max_tokens=400)
        again = await asker.ask("expert-json", messages, temperature=0, max_tokens=1)
        if response.status_code != 200 or again.status_code != 200:
            counted.wrong.append(f"json {response.status_code} {response.text[:200]}: {written}")
            return Counter()
        for decoding in (response, again):
            counted.note_cost(decoding.headers["x-hive-decoding"])
        choice = response.json()["choices"][0]
        found: Counter[str] = Counter()
        found["bound to their schema"] += "=prompt: " in response.headers["x-hive-decoding"]
        found["cut off by the limit of tokens"] += choice["finish_reason"] == "length"
        reason = _json_reason(schema, choice["message"]["content"])
        found["valid"] += reason is None
        if reason is not None or "=prompt: " not in response.headers["x-hive-decoding"]:
            decoding = response.headers["x-hive-decoding"]
            counted.wrong.append(f"json: {reason}; {decoding}; {choice}; under {written}")
        return found

    asked = (asker.case(one(*case)) for case in cases)
    total = sum(await asyncio.gather(*asked), Counter())
    counted.figures["json"] = {"schemas": total["asked"], **_all(total, _JSON)}


_JSON = ("bound to their schema", "valid", "cut off by the limit of tokens")


def _json_reason(schema: dict[str, Any], text: str) -> str | None:
    try:
        value = json.loads(text)
    except ValueError as error:
        return f"not JSON: {error}"
    kind = jsonschema.Draft202012Validator
    broken = next(kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(value), None)
    return None if broken is None else f"{broken.json_path}: {broken.message}"


async def count_sql(asker: Asker, count: int, seed: int, counted: Counted) -> None:
    """expert-sql under `count` different schemas, and the same without its grammar."""
    cases = list(sql_schemas.cases(count, seed))

    async def one(case: sql_schemas.SqlCase) -> Counter[str]:
        return await way(case, bound=True) + await way(case, bound=False)

    async def way(case: sql_schemas.SqlCase, *, bound: bool) -> Counter[str]:
        messages = [
            {"role": "system", "content": f"Dialect: sqlite\nSchema:\n{case.written}"},
            {"role": "user", "content": case.question},
        ]
        response = await asker.ask("expert-sql", messages, bound=bound, temperature=0)
        if response.status_code != 200:
            counted.wrong.append(f"sql {response.status_code} {response.text[:200]}")
            return Counter()
        text = response.json()["choices"][0]["message"]["content"]
        unknown = sql_schemas.unknown_names(text, case.tables)
        runs = sql_schemas.executes(text, case.tables)
        if not bound:
            return Counter(
                {
                    "without grammar: with unknown names": unknown != [],
                    "without grammar: executable": runs,
                }
            )
        decoding = response.headers["x-hive-decoding"]
        counted.note_cost(decoding)
        if unknown != [] or "=prompt: " not in decoding:
            counted.wrong.append(f"sql: {unknown}; {decoding}; {text}; under {case.written}")
        return Counter(
            {
                "bound to their schema": "=prompt: " in decoding,
                "with unknown names": unknown != [],
                "executable": runs,
            }
        )

    asked = (asker.case(one(case)) for case in cases)
    total = sum(await asyncio.gather(*asked), Counter())
    counted.figures["sql"] = {"schemas": total["asked"], **_all(total, _SQL)}


_SQL = (
    "bound to their schema",
    "with unknown names",
    "executable",
    "without grammar: with unknown names",
    "without grammar: executable",
)


def _all(total: Counter[str], keys: Sequence[str]) -> dict[str, int]:
    return {key: total[key] for key in keys}


async def count_hostile(asker: Asker, limit: int | None, counted: Counted) -> None:
    """Schemas against which the server must stand; each may be refused, or do without a binding."""
    known = [("json", *item) for item in hostile.JSON_SCHEMAS.items()]
    known += [("sql", *item) for item in hostile.SQL_SCHEMAS.items()]
    step = len(known) // limit if limit else 1
    outcomes: Counter[str] = Counter()
    chosen = known[:: max(1, step)]
    for kind, name, text in chosen:
        if asker.late:
            break
        outcomes["tried"] += 1
        messages = hostile.messages(kind, text)
        response = await asker.ask(f"expert-{kind}", messages, temperature=0, max_tokens=8)
        if response.status_code == 200:
            bound = "=prompt: " in response.headers["x-hive-decoding"]
            outcomes["bound" if bound else "answered without it"] += 1
        elif 400 <= response.status_code < 500 and "error" in response.json():
            outcomes[f"refused with {response.status_code}"] += 1
        else:
            counted.wrong.append(f"{name}: {response.status_code} {response.text[:300]}")
    counted.figures["hostile schemas"] = dict(sorted(outcomes.items()))


async def run(
    url: str,
    *,
    json_count: int,
    sql_count: int,
    hostile_count: int | None = None,
    seed: int = 0,
    seconds: float = math.inf,
) -> Counted:
    """All of it on one server.

    Args:
        hostile_count: hostile schemas, about; None: all.
        seconds: at most; each of the three parts gets a share of it.
    """
    counted = Counted()
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as http:
        asker, begun = Asker(http, url), time.monotonic()
        asker.end = begun + 0.3 * seconds
        await count_sql(asker, sql_count, seed, counted)
        asker.end = begun + 0.8 * seconds
        await count_json(asker, json_count, seed, counted)
        asker.end = begun + seconds
        counted.figures["binding"] = counted.costs()
        neighbours, stop = Neighbours(http, url), asyncio.Event()
        await neighbours.learn()
        asking = asyncio.create_task(neighbours.ask_until(stop))
        try:
            await count_hostile(asker, hostile_count, counted)
        finally:
            stop.set()
            await asking
        counted.wrong += neighbours.changed
        counted.figures["neighbours"] = {
            "answers": neighbours.answered,
            "changed": len(neighbours.changed),
        }
    return counted
