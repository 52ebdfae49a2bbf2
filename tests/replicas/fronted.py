"""A front with jobs before two replicas, without Ray and vLLM.

The front, its jobs, the replicas and what passes between them and their servers over HTTP are the
real ones; a server is a guard before a model that is a fake.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any, NoReturn

import httpx
import openai
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from hive_expert.jobs.service import Jobs, JobSettings
from hive_expert.replicas import engine
from hive_expert.replicas.application import build_app
from hive_expert.replicas.engine import EngineReplica
from hive_expert.replicas.relay import Answer, Relayed, Spent
from hive_expert.replicas.retry import Piece
from hive_expert.replicas.settings import FrontJobSettings
from hive_expert.serving.agents import Agents
from hive_expert.serving.auth import Caller, parse_keys
from hive_expert.serving.front_link import FrontLink, LinkSettings
from hive_expert.serving.guard import Door, Guard, caller_of
from hive_expert.serving.ledger import Ledger
from hive_expert.serving.local_server import LocalServer
from hive_expert.serving.observation import CURRENT
from tests.jobs.conftest import ALICE, KEYS
from tests.jobs.fake_server import FakeModel, local_door

ADMIN = "admin-key-0123456789"
_KEYS = replace(KEYS, admin=parse_keys(ADMIN, "admin"))

PLACES = 8
"""Of one replica."""


class FellAwayError(Exception):
    pass


class Model(FakeModel):
    """A fake that remembers who has asked it, with models that are experts."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.callers: list[Caller] = []
        self.streamed = 0

    async def answer(self, request: Request) -> Response:
        self.callers.append(caller_of(request.scope))
        return await super().answer(request)

    async def stream(self, _: Request) -> Response:
        """A token at a time, for ever."""
        seen = CURRENT.get()
        assert seen is not None

        async def events() -> AsyncIterator[str]:
            while True:
                seen.completion_tokens += 1
                self.streamed += 1
                yield "data: x\n\n"
                await asyncio.sleep(0.01)

        return StreamingResponse(events(), media_type="text/event-stream")


def server_of(model: Model, link: FrontLink) -> FastAPI:
    """A replica's server."""
    app = FastAPI()
    app.post("/v1/chat/completions", response_model=None)(model.answer)
    app.post("/v1/completions", response_model=None)(model.stream)

    @app.get("/v1/models", response_model=None)
    async def models() -> Response:
        return JSONResponse({"data": [{"id": "expert-short"}, {"id": "expert-long"}]})

    @app.get("/v1/experts/{name}", response_model=None)
    async def expert(name: str) -> Response:
        if name.partition("@")[0] not in ("expert-short", "expert-long"):
            return JSONResponse({"error": {"message": "no such expert", "code": 404}}, 404)
        short = {"max_chain": 1} if name.startswith("expert-short") else {}
        return JSONResponse({"id": name, "constraints": short})

    @app.get("/metrics", response_model=None)
    async def metrics() -> Response:
        return Response("# HELP hive_x X.\n# TYPE hive_x counter\nhive_x 3\n")

    app.add_middleware(Guard)
    app.state.hive_door = door = local_door(_KEYS, PLACES)
    door.link = link
    return app


class Replica(EngineReplica):
    """A replica without an actor around it."""

    def __init__(self, name: str, url: str, link: LinkSettings, reading: int) -> None:
        self._name = name
        process: Any = None
        self._server = LocalServer(url, process, None)
        self._session = engine.session()
        self._account_for(reading, link.secret)

    @property
    def name(self) -> str:
        return self._name

    def _die(self, why: str) -> NoReturn:
        raise FellAwayError(why)

    async def close(self) -> None:
        await self._session.close()

    def __del__(self) -> None:  # type: ignore[override]  # there is no engine to end
        pass


@asynccontextmanager
async def replica_of(name: str, model: Model) -> AsyncIterator[Replica]:
    """A replica and its server, as long as the block runs."""
    reading, writing = os.pipe()
    link = LinkSettings(writing, f"secret-of-{name}")
    config = uvicorn.Config(
        server_of(model, FrontLink(link)), port=0, log_level="warning", lifespan="off"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    replica = Replica(name, f"http://127.0.0.1:{port}", link, reading)
    try:
        yield replica
    finally:
        server.should_exit = server.force_exit = True
        await serving
        await replica.close()
        os.close(writing)
        await asyncio.sleep(0)  # the pipe's end is read


@dataclass
class Engines:
    """Replicas that take turns; an expert's requests meet on one. ``lose`` of them fall away."""

    replicas: list[Replica]
    lost: tuple[type[BaseException], ...] = (FellAwayError,)
    lose: int = 0
    asked: list[Relayed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._turns = cycle(self.replicas)

    async def ask(self, request: Relayed) -> AsyncGenerator[Piece, None]:
        self.asked.append(request)
        if self.lose:
            self.lose -= 1
            raise FellAwayError
        replica = self.replicas[0] if request.experts else next(self._turns)
        pieces = replica.ask(request)
        try:
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    async def ask_all(self, request: Relayed) -> list[Answer]:
        found = [await replica.whole(request) for replica in self.replicas]
        return [answer for answer in found if answer is not None]

    async def accounts(self, front: str) -> list[list[Spent]]:
        return [await replica.account(front) for replica in self.replicas]

    async def alive(self) -> bool:
        return True


@dataclass
class Fronted:
    """One front, and what is behind it."""

    app: Any
    door: Door
    engines: Engines
    models: list[Model]

    @property
    def jobs(self) -> Jobs:
        jobs = self.app.state.hive_front_jobs._jobs
        assert isinstance(jobs, Jobs)
        return jobs

    @property
    def callers(self) -> list[Caller]:
        return [caller for model in self.models for caller in model.callers]

    def times(self, text: str) -> int:
        """How often all models were asked something."""
        return sum(model.asked[text] for model in self.models)

    def client(self, key: str = ALICE) -> openai.AsyncOpenAI:
        url = "http://localhost/v1"
        http = self.http(key)
        return openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, http_client=http)

    def http(self, key: str = ALICE) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)


@dataclass
class Fronts:
    """Starts fronts, one after another, before the same replicas and on the same jobs."""

    engines: Engines
    models: list[Model]
    folder: Path

    @asynccontextmanager
    async def front(self, agents: Agents | None = None) -> AsyncIterator[Fronted]:
        door = local_door(_KEYS, PLACES * len(self.models))
        door.ledger = Ledger(agents or Agents())
        jobs = JobSettings(self.folder, poll_s=0.05)
        settings = FrontJobSettings(jobs, replicas=len(self.models), places=PLACES)
        app = build_app(door, self.engines, settings)
        async with app.router.lifespan_context(app):
            yield Fronted(app, door, self.engines, self.models)


@asynccontextmanager
async def fronts(folder: Path, new_database: Path, seconds: float = 0.001) -> AsyncIterator[Fronts]:
    """Two replicas, and a folder for jobs."""
    folder.mkdir()
    shutil.copy(new_database, folder)
    async with AsyncExitStack() as stack:
        models = [Model(seconds), Model(seconds)]
        replicas = [
            await stack.enter_async_context(replica_of(name, model))
            for name, model in zip(("one", "two"), models, strict=True)
        ]
        yield Fronts(Engines(replicas), models, folder)


def events_in(text: str) -> list[dict[str, Any]]:
    """The batches of an event stream."""
    lines = text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
