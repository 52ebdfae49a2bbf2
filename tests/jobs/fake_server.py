"""A server of jobs whose model is a fake: `python -m tests.jobs.fake_server PORT FOLDER
[DATABASE]`.

The guard, routes, workflows and database are the real ones; there is no vLLM, so it starts in a
second. An answer says what it was asked, so that a mix-up shows; some requests fail, as asked to.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest

from hive_expert.jobs import endpoints
from hive_expert.jobs.admission import room_of
from hive_expert.jobs.service import JobSettings
from hive_expert.serving.auth import Keys
from hive_expert.serving.body import BodyLimits
from hive_expert.serving.guard import Door, Guard, caller_of
from hive_expert.serving.observation import CURRENT
from hive_expert.serving.routes import RouteTable
from hive_expert.serving.traffic import Traffic, TrafficLimits


class FakeModel:
    """What stands for the engine. `seconds` each request takes; `asked` is how often, by text."""

    def __init__(self, seconds: float = 0.001) -> None:
        self.seconds = seconds
        self.asked: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.present = 0
        self.most_present = 0
        self.refuse_first = 0
        """How often each text is answered with 503 first."""

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        text = body["messages"][-1]["content"]
        self.asked[text] += 1
        self.present += 1
        self.most_present = max(self.most_present, self.present)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.present -= 1
        if text.startswith("refuse"):
            return JSONResponse({"error": {"message": text, "code": 400}}, status_code=400)
        if self.asked[text] <= self.refuse_first:
            return JSONResponse({"error": {"message": "busy", "code": 503}}, status_code=503)
        if text.startswith("crash"):
            raise RuntimeError(text)
        tokens = int(body.get("max_tokens") or 10)
        self.tokens[caller_of(request.scope).tenant or ""] += tokens
        seen = CURRENT.get()
        assert seen is not None
        seen.completion_tokens += tokens
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": f"you said {text}"},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 0,
                "completion_tokens": tokens,
                "total_tokens": tokens,
            },
        }
        return JSONResponse(answer)


def application(door: Door, model: FakeModel, registry: CollectorRegistry) -> FastAPI:
    """The server without its jobs started."""
    app = FastAPI()
    app.post("/v1/chat/completions", response_model=None)(model.answer)

    @app.get("/health", response_model=None)
    async def health() -> str:
        return "up"

    @app.get("/metrics", response_model=None)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type="text/plain")

    endpoints.attach(app)
    app.add_middleware(Guard)
    app.state.hive_door = door
    return app


def local_door(keys: Keys | None = None, running: int = 64) -> Door:
    return Door(
        keys or Keys(),
        RouteTable(),
        Traffic(TrafficLimits(running=running)),
        BodyLimits(),
    )


@asynccontextmanager
async def serving(
    app: FastAPI, settings: JobSettings, registry: CollectorRegistry
) -> AsyncIterator[None]:
    """Jobs of an application, as long as the block runs."""
    jobs = await endpoints.start(app.state, settings, app.state.hive_door, registry)
    try:
        yield
    finally:
        if jobs is not None:
            await jobs.stop()


async def serve(
    app: FastAPI,
    registry: CollectorRegistry,
    port: int,
    folder: Path,
    database: str | None = None,
) -> None:
    """An application and its jobs, until the process ends."""
    import uvicorn

    settings = JobSettings(folder, room_of(64), database, poll_s=0.2)
    async with serving(app, settings, registry):
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    registry = CollectorRegistry()
    app = application(local_door(), FakeModel(), registry)
    asyncio.run(serve(app, registry, int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
