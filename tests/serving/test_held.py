"""An expert stays in memory until the last byte of an answer, and the engine's last token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from hive_expert.catalog.residency import Resident
from hive_expert.engine.fake import FakeEngine
from hive_expert.serving.held import HeldResponse, KeepingClient
from tests.catalog.test_composition import expert


def application(log: list[str], *, fails: bool = False) -> FastAPI:
    app = FastAPI()

    async def pieces() -> AsyncIterator[str]:
        for piece in ("one", "two"):
            log.append(piece)
            yield piece
            if fails:
                raise LookupError("while it is sent")

    @app.get("/")
    async def answer(request: Request) -> Response:
        needed = AsyncExitStack()
        needed.callback(log.append, "let go")
        inner = StreamingResponse(pieces(), headers={"x-inner": "1"}, status_code=201)
        held = HeldResponse(inner, needed)
        held.headers["x-outer"] = "2"
        log.append("handler done")
        return held

    return app


def test_it_lets_go_after_the_last_piece() -> None:
    log: list[str] = []
    answer = TestClient(application(log)).get("/")
    assert (answer.text, answer.status_code) == ("onetwo", 201)
    assert (answer.headers["x-inner"], answer.headers["x-outer"]) == ("1", "2")
    assert log == ["handler done", "one", "two", "let go"]


def test_it_lets_go_when_sending_fails() -> None:
    log: list[str] = []
    with pytest.raises(LookupError):
        TestClient(application(log, fails=True)).get("/")
    assert log[-1] == "let go"


async def test_a_stream_is_closed_when_the_client_leaves_while_a_piece_is_sent() -> None:
    log: list[str] = []

    async def pieces() -> AsyncIterator[str]:
        try:
            while True:
                yield "piece"
        finally:
            log.append("closed")

    body = pieces()  # held here, so that no collector closes it

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(60)

    held = HeldResponse(StreamingResponse(body), AsyncExitStack())
    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    await asyncio.wait_for(held(scope, receive, send), 60)
    assert log == ["closed"]


class Engine:
    """Generates for ever, and notes when it is told that a request is cancelled."""

    errored = False

    def __init__(self, log: list[str]) -> None:
        self._log = log

    async def generate(self, prompt: str, *, lora_request: Any = None) -> AsyncIterator[str]:
        try:
            while True:
                yield prompt
                await asyncio.sleep(0.001)
        finally:
            await asyncio.sleep(0.005)
            self._log.append("cancelled in the engine")


class Noting(FakeEngine):
    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log = log

    async def remove_adapter(self, adapter_id: int) -> None:
        self._log.append("removed")
        await super().remove_adapter(adapter_id)


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_the_adapter_of_a_request_that_left_is_removed_after_it(
    tmp_path: Path, how: str
) -> None:
    log: list[str] = []
    engine = Noting(log)
    resident = Resident(engine)
    client = KeepingClient(Engine(log), resident)
    one = expert("expert-a", adapter=tmp_path)
    async with resident.using(one):
        (adapter_id,) = engine.adapters
        outputs = client.generate("x", lora_request=SimpleNamespace(lora_int_id=adapter_id))

        async def read() -> None:
            async for _ in outputs:
                if how == "closed" and len(seen) > 3:
                    return
                seen.append(1)

        seen: list[int] = []
        reading = asyncio.create_task(read())
        await asyncio.sleep(0.05)
    assert not await resident.release(one)
    if how == "closed":
        await outputs.aclose()
    reading.cancel()
    await asyncio.wait([reading])
    await asyncio.sleep(0.01)
    assert log == ["cancelled in the engine", "removed"]
    assert engine.adapters == {}


async def test_requests_for_the_base_and_all_else_pass_through() -> None:
    inner = Engine([])
    client = KeepingClient(inner, Resident(FakeEngine()))
    assert client.errored is False
    outputs = client.generate("x")
    assert await anext(outputs) == "x"
    await outputs.aclose()
