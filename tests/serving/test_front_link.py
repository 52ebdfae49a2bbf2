"""What a front says of a request is believed, and what a client says in its place is not."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from hive_expert.serving.agents import Agent, Agents, PriorityClass
from hive_expert.serving.auth import Caller, Keys, parse_keys
from hive_expert.serving.front_link import (
    AGAIN_S,
    HEADER,
    VARIABLE,
    Bill,
    FrontLink,
    LinkSettings,
    Told,
    header_of,
    link_settings,
    read_bill,
    read_header,
)
from hive_expert.serving.guard import Door, Guard, caller_of
from hive_expert.serving.ledger import Ledger
from hive_expert.serving.observation import CURRENT
from hive_expert.serving.routes import Access, RouteTable

KEY = "alice-key-0123456789"
SECRET = "a" * 64

BATCH = Caller("bob", admin=False, job=PriorityClass.BATCH)


@dataclass
class Linked:
    """A server behind a front, and the end of the pipe where its bills come out."""

    client: TestClient
    reading: int

    def ask(self, told: Told | None = None, secret: str = SECRET, **headers: str) -> Any:
        if told is not None:
            name, value = header_of(told, secret)
            headers[name.decode()] = value.decode()
        return self.client.post("/v1/ask", headers=headers)

    def bills(self) -> list[Bill]:
        try:
            return [read_bill(line) for line in os.read(self.reading, 2**16).splitlines()]
        except BlockingIOError:
            return []


@pytest.fixture
def linked() -> Iterator[Linked]:
    app = FastAPI()

    @app.post("/v1/ask")
    async def ask(request: Request) -> dict[str, Any]:
        seen = CURRENT.get()
        assert seen is not None
        seen.prompt_tokens, seen.completion_tokens = 3, 4
        caller = caller_of(request.scope)
        shown = HEADER.decode() in request.headers
        return {"tenant": caller.tenant, "job": caller.job, "admin": caller.admin, "shown": shown}

    @app.post("/v1/load")
    async def load() -> str:
        return "loaded"

    app.add_middleware(Guard)
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    app.state.hive_door = Door(
        Keys(parse_keys(f"alice {KEY}", "keys"), local=False),
        RouteTable({("POST", "/v1/ask"): Access.INFERENCE, ("POST", "/v1/load"): Access.ADMIN}),
        ledger=Ledger(Agents(Agent(tokens=1000))),
        link=FrontLink(LinkSettings(writing, SECRET)),
    )
    yield Linked(TestClient(app, "http://localhost"), reading)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    "told",
    [
        Told(1),
        Told(2, BATCH),
        Told(3, Caller(None, admin=False, job=PriorityClass.AGENT)),
        Told(4, Caller("-", admin=False, job=PriorityClass.BATCH)),
    ],
)
def test_what_is_told_is_what_is_read(told: Told) -> None:
    _, value = header_of(told, SECRET)
    assert read_header(value, SECRET) == told
    assert read_header(value, "b" * 64) is None


def test_a_batch_needs_no_key_and_keeps_its_agent_and_class(linked: Linked) -> None:
    answer = linked.ask(Told(7, BATCH))
    assert answer.json() == {"tenant": "bob", "job": 20, "admin": False, "shown": False}
    assert linked.bills() == [Bill(7, "bob", 7)]


def test_a_client_s_request_still_needs_its_key(linked: Linked) -> None:
    assert linked.ask(Told(8)).status_code == 401
    answer = linked.ask(Told(9), authorization=f"Bearer {KEY}")
    assert (answer.json()["tenant"], answer.json()["job"]) == ("alice", None)
    assert linked.bills() == [Bill(8, "", 0), Bill(9, "alice", 7)]


@pytest.mark.parametrize("secret", ["", "b" * 64, SECRET[:-1]])
def test_a_client_cannot_say_that_it_is_a_front(linked: Linked, secret: str) -> None:
    assert linked.ask(Told(7, BATCH), secret).status_code == 401
    assert linked.bills() == []


def test_of_two_headers_neither_is_believed(linked: Linked) -> None:
    name, value = header_of(Told(7, BATCH), SECRET)
    answer = linked.client.post("/v1/ask", headers=[(name, value), (name, value)])
    assert answer.status_code == 401


def test_a_front_asks_models_and_changes_nothing(linked: Linked) -> None:
    name, value = header_of(Told(7, BATCH), SECRET)
    answer = linked.client.post("/v1/load", headers=[(name, value)])
    assert answer.status_code == 403


def test_who_comes_past_the_front_is_counted_too(linked: Linked) -> None:
    linked.ask(authorization=f"Bearer {KEY}")
    assert linked.bills() == [Bill(None, "alice", 7)]


async def test_a_full_pipe_holds_nobody_up_and_loses_nothing() -> None:
    reading, writing = os.pipe()
    try:
        link = FrontLink(LinkSettings(writing, SECRET))
        for number in range(5000):
            link.settle(Told(number), "alice", number)
        read = os.read(reading, 2**16)
        async with asyncio.timeout(10):
            while read.count(b"\n") < 5000:
                await asyncio.sleep(2 * AGAIN_S)  # the pipe is full again
                read += os.read(reading, 2**16)
        assert [json.loads(line)["number"] for line in read.splitlines()] == [*range(5000)]
    finally:
        os.close(reading)
        os.close(writing)


async def test_a_front_that_is_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    link = FrontLink(LinkSettings(writing, SECRET))
    link.settle(Told(1), "alice", 1)
    assert not link._unwritten
    os.close(writing)


def test_the_environment_says_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LinkSettings(5, SECRET)
    for name, value in settings.variable().items():
        monkeypatch.setenv(name, value)
    assert link_settings() == settings
    assert VARIABLE not in os.environ
    assert link_settings() is None
    assert SECRET not in repr(settings)
