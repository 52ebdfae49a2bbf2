"""Requests to a server under measurement, with the time of every piece of their answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Any, TypeVar

import aiohttp

Result = TypeVar("Result")

VOCABULARY = 40_000
"""Random prompts use token ids below it."""

WORDS = ("river", "stone", "cloud", "engine", "garden", "winter", "signal", "copper", "market")


@dataclass(frozen=True)
class Ask:
    """One request. A prompt of token ids goes to /v1/completions, a text to /v1/chat/completions.

    It is answered by exactly `tokens` tokens, unless `free`.
    """

    model: str
    prompt: tuple[int, ...] | tuple[dict[str, str], ...]
    tokens: int
    free: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return "chat/completions" if self._chat else "completions"

    @property
    def body(self) -> dict[str, Any]:
        prompt = {"messages" if self._chat else "prompt": list(self.prompt)}
        length = {"max_tokens": self.tokens} | ({} if self.free else {"ignore_eos": True})
        return {"model": self.model, "temperature": 0, **prompt, **length}

    @property
    def _chat(self) -> bool:
        return isinstance(self.prompt[0], dict)


@dataclass(frozen=True)
class Reply:
    """What came back, in seconds from the sending of the request."""

    seconds: float
    arrivals: tuple[float, ...]
    """Of each piece of a stream; empty for an answer in one."""
    tokens: int
    text: str
    headers: Mapping[str, str]

    @property
    def first_s(self) -> float:
        return self.arrivals[0]


def settle() -> None:
    """Let an engine come to rest: after its last work vLLM's looks for more for a second, which
    costs a core."""
    time.sleep(1.3)


def random_ids(random: Random, count: int) -> tuple[int, ...]:
    return tuple(random.randrange(10, VOCABULARY) for _ in range(count))


def random_chat(random: Random, words: int) -> tuple[dict[str, str], ...]:
    text = " ".join(random.choice(WORDS) for _ in range(words))
    return ({"role": "user", "content": text},)


class Client:
    """A connection pool to one server, with an event loop of its own, for code that has none."""

    def __init__(self, api: str) -> None:
        self._api = api
        self._runner = asyncio.Runner()

    def __enter__(self) -> Client:
        self._session = self.run(_session())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.run(self._session.close())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(work)

    def ask(self, ask: Ask, *, stream: bool = False) -> Reply:
        """One request alone."""
        return self.run(self.streamed(ask) if stream else self.whole(ask))

    def load(self, asks: Sequence[Ask], clients: int) -> tuple[float, list[Reply]]:
        """All of `asks`, by so many clients, each of which sends its next when it has an answer.

        Returns the seconds that all took, and the replies in the order of `asks`.
        """
        return self.run(self._closed_loop(asks, clients))

    async def whole(self, ask: Ask) -> Reply:
        began = time.perf_counter()
        async with self._session.post(
            f"{self._api}/{ask.path}", json=ask.body, headers=ask.headers
        ) as answer:
            body = json.loads(_sound(answer.status, await answer.read()))
            choice = body["choices"][0]
            text = choice["message"]["content"] if "message" in choice else choice["text"]
            seconds = time.perf_counter() - began
            return Reply(
                seconds, (), body["usage"]["completion_tokens"], text or "", answer.headers
            )

    async def streamed(self, ask: Ask) -> Reply:
        """The pieces are counted as tokens: vLLM sends one for each while its client keeps up."""
        arrivals = []
        began = time.perf_counter()
        async with self._session.post(
            f"{self._api}/{ask.path}", json=ask.body | {"stream": True}, headers=ask.headers
        ) as answer:
            if answer.status != 200:
                _sound(answer.status, await answer.read())
            async for line in answer.content:
                if line.startswith(b'data: {"error"'):
                    raise ServerError(line.decode())
                if line.startswith(b"data: {"):
                    arrivals.append(time.perf_counter() - began)
            return Reply(
                time.perf_counter() - began, tuple(arrivals), len(arrivals), "", answer.headers
            )

    async def post(self, path: str) -> dict[str, Any]:
        """One of the server's own actions, as `experts/NAME/unload`."""
        async with self._session.post(f"{self._api}/{path}") as answer:
            done: dict[str, Any] = json.loads(_sound(answer.status, await answer.read()))
            return done

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON."""
        async with self._session.get(f"{self._api}/{path}") as answer:
            return answer.status, json.loads(await answer.read())

    async def _closed_loop(self, asks: Sequence[Ask], clients: int) -> tuple[float, list[Reply]]:
        replies: dict[int, Reply] = {}
        waiting = iter(enumerate(asks))

        async def client() -> None:
            for number, ask in waiting:
                replies[number] = await self.whole(ask)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
        return time.perf_counter() - began, [replies[number] for number in range(len(asks))]


class ServerError(Exception):
    """An answer that is none."""


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        # vLLM's server closes what was idle for 5 s: never send on a connection it may be closing.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3),
        timeout=aiohttp.ClientTimeout(total=300),
    )


def _sound(status: int, body: bytes) -> bytes:
    if status != 200:
        raise ServerError(f"{status}: {body[:500]!r}")
    return body
