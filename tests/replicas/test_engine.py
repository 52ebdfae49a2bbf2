"""A replica before an engine that answers as it is told: what reaches it, and what ends both."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hive_expert.errors import EngineError
from hive_expert.replicas import account, engine
from hive_expert.replicas.engine import EngineReplica
from hive_expert.replicas.relay import Answer, Head, Relayed
from hive_expert.replicas.retry import Piece

GET = Relayed("GET", "/v1/models")
SOUND = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ILL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"


class DiedError(Exception):
    """The replica has ended itself."""


class Process:
    """Of an engine that runs."""

    pid = 0
    returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode


class Engine:
    """A server that answers /health and all else with these bytes, and keeps what it got."""

    def __init__(self) -> None:
        self.health = SOUND
        self.answer = SOUND
        self.got: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        head = await reader.readuntil(b"\r\n\r\n")
        health = head.startswith(b"GET /health")
        if not health:
            self.got.append(head)
        writer.write(self.health if health else self.answer)
        if self.answer or health:
            await writer.drain()
            writer.close()
        else:
            await asyncio.sleep(60)


@pytest.fixture
async def served() -> AsyncIterator[Engine]:
    yield Engine()


@asynccontextmanager
async def replica_of(told: Engine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EngineReplica]:
    def die(status: int) -> None:
        raise DiedError(status)

    monkeypatch.setattr(os, "_exit", die)
    monkeypatch.setattr(os, "killpg", lambda *_: None)
    monkeypatch.setattr(EngineReplica, "name", "one")
    monkeypatch.setattr(account, "SETTLE_LIMIT_S", 0.01)  # this server tells nothing
    server = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    replica = object.__new__(EngineReplica)
    session = engine.session()
    replica.__dict__ |= {
        "_server": engine.LocalServer(f"http://127.0.0.1:{port}", Process(), None),  # type: ignore[arg-type]  # all that is asked of it
        "_session": session,
    }
    reading, writing = os.pipe()
    os.close(writing)
    replica._account_for(reading, "secret")
    try:
        yield replica
    finally:
        # What Ray Serve calls when it stops a replica has an engine to end.
        replica.__class__ = _Ended  # type: ignore[assignment]  # __del__ must not run
        await session.close()
        server.close()


class _Ended:
    pass


async def pieces(replica: EngineReplica, request: Relayed = GET) -> list[Piece]:
    return [piece async for piece in replica.ask(request)]


async def test_the_engine_gets_the_client_s_headers_and_no_others(
    served: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Relayed("POST", "/v1/route?x=%20", ((b"x-hive-debug", b"1"),), b"{}")
    async with replica_of(served, monkeypatch) as replica:
        assert await pieces(replica, sent) == [Head(200, ((b"content-length", b"2"),)), b"ok"]
    (head,) = served.got
    first, *lines = head.decode().strip().split("\r\n")
    assert first == "POST /v1/route?x=%20 HTTP/1.1"
    names = {line.partition(":")[0].lower() for line in lines}
    assert names == {"host", "x-hive-debug", "x-hive-front", "content-length", "connection"}


async def test_no_request_goes_on_a_connection_that_may_be_closing(
    served: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replica_of(served, monkeypatch) as replica:
        await pieces(replica)
        await pieces(replica)
    assert served.connections == 2
    assert all(b"connection: close" in head.lower() for head in served.got)


async def test_long_headers_come_back(served: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    long = b"a" * 30_000
    served.answer = b"HTTP/1.1 200 OK\r\nx-hive-route: %s\r\ncontent-length: 0\r\n\r\n" % long
    async with replica_of(served, monkeypatch) as replica:
        head, *_ = await pieces(replica)
    assert isinstance(head, Head) and (b"x-hive-route", long) in head.headers


BROKEN = [
    b"no HTTP at all\r\n\r\n",
    HEAD + b"\r\nshort",
    HEAD + b"x: " + b"a" * 2**17 + b"\r\n\r\n",
]


@pytest.mark.parametrize("broken", BROKEN)
async def test_an_answer_that_cannot_be_read_costs_no_sound_engine(
    served: Engine, monkeypatch: pytest.MonkeyPatch, broken: bytes
) -> None:
    served.answer = broken
    async with replica_of(served, monkeypatch) as replica:
        with pytest.raises(EngineError, match="cannot read"):
            await pieces(replica)
        served.answer = SOUND
        assert (await pieces(replica))[1:] == [b"ok"]


@pytest.mark.parametrize("broken", [*BROKEN, ILL])
async def test_a_replica_ends_with_its_engine(
    served: Engine, monkeypatch: pytest.MonkeyPatch, broken: bytes
) -> None:
    served.answer, served.health = broken, ILL
    async with replica_of(served, monkeypatch) as replica:
        with pytest.raises(DiedError):
            await pieces(replica)


async def test_a_refusal_by_a_sound_engine_is_an_answer(
    served: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.answer = ILL
    async with replica_of(served, monkeypatch) as replica:
        head, *_ = await pieces(replica)
    assert isinstance(head, Head) and head.status == 503


async def test_one_that_is_slow_does_not_keep_all_others_waiting(
    served: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WHOLE_LIMIT_S", 0.05)
    async with replica_of(served, monkeypatch) as replica:
        assert await replica.whole(GET) == Answer(
            "one", Head(200, ((b"content-length", b"2"),)), b"ok"
        )
        served.answer = b""
        assert await replica.whole(GET) is None


async def test_ray_serve_hears_of_an_engine_that_is_ill_or_gone(
    served: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replica_of(served, monkeypatch) as replica:
        await replica.check_health()
        served.health = ILL
        with pytest.raises(EngineError, match="sound"):
            await replica.check_health()
        process: Any = replica._server.process
        process.returncode = 1
        with pytest.raises(EngineError, match="ended"):
            await replica.check_health()


async def test_one_that_is_stopped_while_its_engine_starts_goes_without_a_word() -> None:
    replica = object.__new__(EngineReplica)
    replica._watch = None
    await replica.__del__()
    assert replica._stopping
    replica.__class__ = _Ended  # type: ignore[assignment]  # as above
