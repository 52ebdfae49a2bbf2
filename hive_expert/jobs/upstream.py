"""Asks this server's own application, in its own process, for one request of a batch.

The request takes the way of every other: the guard, the expert's contract, validation, metrics.
What it has beyond others is its `Caller`, which stands in the ASGI scope, where no client can
write; so there is no key that could leak, and no connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.types import ASGIApp, Message

from hive_expert.jobs.limits import ATTEMPTS, BUSY_ATTEMPTS
from hive_expert.serving.auth import Caller
from hive_expert.serving.guard import ERRAND

log = logging.getLogger("hive_expert.jobs")

REQUEST_ID = "x-request-id"
SHOULD_RETRY = "x-should-retry"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the application answered."""

    status: int
    body: bytes
    request_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Our own: who answered, and what the check of the answer found."""
    in_vain: bool = False
    """The server says that asking again is."""

    @property
    def attempts(self) -> int:
        """How often a request may be asked that gets this reply: more than once, if the server and
        not the request is the reason that there is no answer."""
        if self.in_vain:
            return 1
        if self.status == 503:
            return BUSY_ATTEMPTS
        return ATTEMPTS if self.status >= 500 or self.status in (408, 499) else 1


class Upstream(Protocol):
    """Whoever answers requests of batches."""

    async def ask(self, endpoint: str, body: bytes, caller: Caller) -> Reply: ...


@dataclass(frozen=True, slots=True)
class Application:
    """An ASGI application as the one who answers."""

    app: ASGIApp

    async def ask(self, endpoint: str, body: bytes, caller: Caller) -> Reply:
        """POST a body. If this is cancelled, the engine hears of it as of a client that left."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": endpoint,
            "raw_path": endpoint.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"host", b"localhost"),
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ],
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 0),
            "state": {},
            ERRAND: caller,
        }
        received = _Received()
        given = [{"type": "http.request", "body": body, "more_body": False}]
        ended = asyncio.Event()

        async def receive() -> Message:
            if given:
                return given.pop()
            # A client that waits for its answer says nothing more until it has it.
            await ended.wait()
            return {"type": "http.disconnect"}

        try:
            await self.app(scope, receive, received.send)
        except Exception:  # Starlette raises once more what it has answered with a 500
            log.exception("a request of a batch failed")
        finally:
            ended.set()
        return received.reply()


class _Received:
    """An answer as it is sent."""

    def __init__(self) -> None:
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = message.get("headers", [])
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    def reply(self) -> Reply:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in self._headers}
        ours = {name: value for name, value in headers.items() if name.startswith("x-hive-")}
        in_vain = headers.get(SHOULD_RETRY) == "false"
        return Reply(self._status, bytes(self._body), headers.get(REQUEST_ID, ""), ours, in_vain)


@dataclass(frozen=True, slots=True)
class Judged:
    """A reply as it is kept."""

    state: str
    """done or failed."""
    answer: str
    """JSON on one line; see `request_rows.Answered`."""
    prompt_tokens: int
    completion_tokens: int


def judge(reply: Reply) -> Judged:
    """Whether a reply is a result or an error, what it cost, and how it is kept."""
    try:
        body: Any = json.loads(reply.body)
    except ValueError:
        # Some errors of proxies and frameworks are plain text.
        body = {"error": {"message": reply.body.decode("utf-8", "replace")[:1000]}}
    kept = {"request_id": reply.request_id, "headers": dict(reply.headers), "body": body}
    answer = json.dumps(kept, ensure_ascii=False).encode("utf-8", "replace").decode()
    usage = body.get("usage") if isinstance(body, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    prompt = usage.get("prompt_tokens", usage.get("input_tokens")) or 0
    completion = usage.get("completion_tokens", usage.get("output_tokens")) or 0
    state = "done" if 200 <= reply.status < 300 else "failed"
    return Judged(state, answer, int(prompt), int(completion))
