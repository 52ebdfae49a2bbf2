"""For counted runs: a server of the shipped experts, and neighbours whose answers must stay."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from hive_expert.adapters.base_model import resolve_base
from hive_expert.serving.local_server import local_server
from tests.e2e.operators import share_operators

ROOT = Path(__file__).parents[2]
BASE = "smollm2-135m"
PAUSE_S = 0.05

SQL_MESSAGES = [
    {"role": "system", "content": "Dialect: sql\nSchema:\nusers(id, name, age)"},
    {"role": "user", "content": "Find all users older than 25."},
]
JSON_MESSAGES = [
    {
        "role": "system",
        "content": "Dialect: json\nSchema:\n"
        '{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},'
        '"required":["name","age"],"additionalProperties":false}',
    },
    {"role": "user", "content": "Anna Berg, 34 years old, lives in Oslo."},
]
BASE_MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
NEIGHBOURS = (("expert-sql", SQL_MESSAGES), ("expert-json", JSON_MESSAGES), (BASE, BASE_MESSAGES))


@contextmanager
def counted_server(url: str | None, *options: str) -> Iterator[str]:
    """The address of the given server, or of one that serves the shipped experts in fp32."""
    if url is not None:
        yield url
        return
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    base = str(resolve_base().directory)
    with tempfile.TemporaryDirectory(prefix="hive-counted-") as folder:
        home, experts = Path(folder) / "home", Path(folder) / "experts"
        experts.mkdir()
        share_operators(home)
        for name in ("expert-sql", "expert-json"):
            shutil.copytree(ROOT / "experts" / name, experts / name)
        line = ("--base", base, "--dtype", "float32", "--trust", "off", *options)
        with local_server(experts, *line, home=home, log=Path(folder) / "log") as server:
            yield server.url


@dataclass
class Neighbours:
    """Clients that ask the same things all the time, greedily.

    Law: on a server in fp32 every answer is, token by token, what it was when nobody else asked.
    """

    http: httpx.AsyncClient
    url: str
    max_tokens: int = 12
    answered: int = 0
    changed: list[str] = field(default_factory=list)
    _alone: dict[str, Any] = field(default_factory=dict)

    async def learn(self) -> None:
        """What each is told while nobody else asks."""
        for model, messages in NEIGHBOURS:
            self._alone[model] = await self._ask(model, messages)

    async def ask_until(self, stop: asyncio.Event) -> None:
        """Ask and compare. A neighbour who gets no answer counts as changed."""
        while not stop.is_set():
            for model, messages in NEIGHBOURS:
                try:
                    told = await self._ask(model, messages)
                except (httpx.HTTPError, KeyError, ValueError) as error:
                    told = repr(error)
                self.answered += 1
                if told != self._alone[model]:
                    self.changed.append(f"{model}: {told}, not {self._alone[model]}")
            await asyncio.sleep(PAUSE_S)

    def news(self) -> tuple[int, list[str]]:
        """How many were answered since this was last asked, and which answers were not the same."""
        told = self.answered, self.changed
        self.answered, self.changed = 0, []
        return told

    async def _ask(self, model: str, messages: Any) -> Any:
        body = {"model": model, "messages": messages, "temperature": 0, "return_token_ids": True}
        answer = await self.http.post(
            f"{self.url}/v1/chat/completions",
            json=body | {"max_tokens": self.max_tokens},
            timeout=300,
        )
        return answer.json()["choices"][0]["token_ids"]
