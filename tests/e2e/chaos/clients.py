"""Clients that ask without pause, and note what became of every request."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.e2e.chaos.directory import ANCHOR, CHANGING, Known
from tests.e2e.chaos.experts import TOKENS, Answer, Logprobs, parts_of

BASE = "smollm2-135m"
HUNG_S = 90.0
"""A request that has not ended by then is counted as hung."""
ENDED = {200, 404, 409, 429, 499, 503}


@dataclass
class Ledger:
    """What became of all requests."""

    answers: dict[Answer, list[Logprobs]] = field(default_factory=dict)
    """Right or wrong is found out afterwards."""
    statuses: Counter[str] = field(default_factory=Counter)
    stale: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Requests that ended in neither an answer nor an error of ours."""
    hung: list[str] = field(default_factory=list)
    left: int = 0
    """Clients that went away in the middle."""
    broken: int = 0
    """Connections that failed while the server was killed and started; no requests to be counted,
    since clients try all the time."""
    seconds: list[float] = field(default_factory=list)
    dying: bool = False
    """The server is being killed, or is starting: connections may break."""
    full: bool = False
    """The disk is: what nobody has asked for yet cannot be unpacked."""

    @property
    def total(self) -> int:
        return sum(self.statuses.values()) + self.left


@dataclass
class Clients:
    """Requests drawn by a seed."""

    url: str
    http: httpx.AsyncClient
    prompts: list[list[int]]
    known: dict[str, Known]
    ledger: Ledger
    random: random.Random

    async def ask_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.ask()

    async def ask(self) -> None:
        """One request of any kind."""
        model, prompt = self._model(), self.random.randrange(len(self.prompts))
        leaves = self.random.random() < 0.05
        body = {
            "model": model,
            "prompt": self.prompts[prompt],
            "max_tokens": 64 if leaves else TOKENS,
            "temperature": 0,
            "ignore_eos": True,
            "return_token_ids": True,
            "logprobs": 1,
            "stream": leaves or self.random.random() < 0.4,
        }
        floor, certain = self._floor(model), self._certain(model)
        started = time.monotonic()
        try:
            async with asyncio.timeout(HUNG_S):
                if leaves:
                    await self._leave(body)
                    return
                status, header, tokens, logprobs = await self._answer(body)
        except TimeoutError:
            self.ledger.hung.append(model)
            return
        except (httpx.HTTPError, ValueError) as error:
            if self.ledger.dying:
                self.ledger.broken += 1
                await asyncio.sleep(0.2)
            else:
                self.ledger.lost.append(f"{model}: {error!r}")
            return
        self.ledger.seconds.append(time.monotonic() - started)
        self.ledger.statuses[str(status)] += 1
        if status == 200:
            self.ledger.answers.setdefault(Answer(parts_of(header), prompt, tokens), []).append(
                logprobs
            )
            self._check_who(model, header, floor)
        elif (
            status not in ENDED
            or model in (BASE, ANCHOR)
            or (status == 404 and certain is not None and certain == self._certain(model))
        ):
            if not self.ledger.dying:
                self.ledger.lost.append(f"{model}: {status} {header[:300]}")
        else:
            await asyncio.sleep(0.02)

    def _model(self) -> str:
        name = self.random.choice(CHANGING)
        draw = self.random.random()
        if draw < 0.1:
            return BASE
        if draw < 0.25:
            return ANCHOR
        if draw < 0.35:
            other = self.random.choice([n for n in CHANGING if n != name])
            return f"{name}:0.5+{other}"
        if draw < 0.4:
            return f"{name}@0.{self.known[name].written}.0"
        return name

    def _floor(self, model: str) -> dict[str, int]:
        """The oldest version that may answer, by name; only where a name alone was asked for."""
        names = re.findall(r"expert-chaos-[a-z]+(?=[+:]|$)", model)
        return {n: known.served for n in names if (known := self.known.get(n)) and known.served}

    def _certain(self, model: str) -> int | None:
        """The version that is served under a name alone; None while that may be none: another has
        been written since, or the last was removed."""
        known = self.known.get(model)
        if known is None or self.ledger.full or known.served != known.written:
            return None
        return known.served

    def _check_who(self, model: str, header: str, floor: dict[str, int]) -> None:
        asked = set(re.findall(r"expert-chaos-[a-z]+", model))
        answered = dict(re.findall(r"(expert-chaos-[a-z]+)@0\.([0-9]+)\.", header))
        if set(answered) != asked:
            self.ledger.lost.append(f"{model} was answered by {header!r}")
        for name, oldest in floor.items():
            if int(answered.get(name, oldest)) < oldest:
                self.ledger.stale.append(f"{model} was answered by {header!r}, not 0.{oldest}")

    async def _answer(self, body: dict[str, Any]) -> tuple[int, str, tuple[int, ...], Logprobs]:
        """Status, who answered (or what the error says), tokens and their log probabilities."""
        async with self.http.stream("POST", f"{self.url}/v1/completions", json=body) as answer:
            if answer.status_code != 200:
                text = (await answer.aread()).decode()
                if "error" not in json.loads(text):
                    raise ValueError(f"an error without its reason: {text[:200]}")
                return answer.status_code, text, (), ()
            header = answer.headers["x-hive-experts"]
            if not body["stream"]:
                found = json.loads(await answer.aread())["choices"][0]
                logprobs = tuple(found["logprobs"]["token_logprobs"])
                return 200, header, tuple(found["token_ids"]), logprobs
            tokens: list[int] = []
            parts: list[float] = []
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    event = json.loads(line.removeprefix("data: "))
                    if "error" in event:
                        return int(event["error"]["code"]), line, (), ()
                    piece = event["choices"][0]
                    tokens += piece.get("token_ids") or []
                    parts += (piece.get("logprobs") or {}).get("token_logprobs") or []
            if len(tokens) != TOKENS:
                raise ValueError(f"a stream of {len(tokens)} tokens")
            return 200, header, tuple(tokens), tuple(parts)

    async def _leave(self, body: dict[str, Any]) -> None:
        """Go away after the first tokens, or before."""
        self.ledger.left += 1
        patience = self.random.uniform(0, 0.6)
        try:
            async with (
                asyncio.timeout(patience),
                self.http.stream("POST", f"{self.url}/v1/completions", json=body) as answer,
            ):
                async for _ in answer.aiter_lines():
                    pass
        except TimeoutError:
            pass
