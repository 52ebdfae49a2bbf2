"""A replica: an actor of Ray Serve that has a hive-serve of its own, and relays requests to it.

The engine is a process beside the actor, and not inside, so that both are what they are elsewhere:
vLLM's server with its own event loop and signals, and an actor that stays responsive. They die
together: a replica without an engine would refuse every request faster than a sound one answers,
and so be sent more of them than any other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing, suppress
from dataclasses import replace
from typing import Any, NoReturn

import aiohttp
import yarl

from hive_expert.errors import EngineError, Problem
from hive_expert.replicas.account import Account
from hive_expert.replicas.loopback import keep_inside
from hive_expert.replicas.relay import Answer, Head, Relayed, Spent, to_client
from hive_expert.replicas.retry import Piece
from hive_expert.replicas.settings import Launch
from hive_expert.serving.front_link import LinkSettings, Told, header_of
from hive_expert.serving.local_server import LocalServer, local_server

log = logging.getLogger("hive_expert.replicas")

LOOK_EVERY_S = 0.5
HEALTH_LIMIT_S = 10.0
CHECK_LIMIT_S = 25.0
"""For Ray Serve's own question, which ends a replica that fails three of them."""
WHOLE_LIMIT_S = 20.0
"""For an answer that is put together with those of all other replicas."""
MAX_HEADER_BYTES = 2**16
"""Of one header of an engine's answer: as many as clients take, and more than aiohttp's 8 KB."""
START_LIMIT_S = 600.0
"""On a cold machine the base model is read from a disk that others read, too."""
_BAD_EVENT = b'data: {"error"'


class EngineReplica:
    """The engine of one replica. `hold` is wrapped by Ray Serve's multiplexing; see `deploy`."""

    async def __init__(self, launch: Launch) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        keep_inside()
        self._stack = ExitStack()
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False
        reading, writing = os.pipe()
        link = LinkSettings(writing, secrets.token_hex(32))
        starting = local_server(
            launch.experts_dir,
            *launch.options,
            start_limit_s=START_LIMIT_S,
            variables={**launch.variables, **link.variable()},
            keeping=(writing,),
        )
        self._server: LocalServer = await asyncio.to_thread(self._stack.enter_context, starting)
        os.close(writing)
        self._session = session()
        self._account_for(reading, link.secret)
        self._watch = asyncio.create_task(self._end_with_engine())

    async def ask(self, request: Relayed) -> AsyncGenerator[Piece, None]:
        """The answer of this replica: its head, its body in pieces, and what it has cost."""
        if request.experts:
            await self.hold(request.experts)
        entry = self._account.begin(request.front)
        header = header_of(Told(entry.number, request.errand), self._secret)
        told = replace(request, headers=(*request.headers, header))
        try:
            async with aclosing(fetched(self._session, self._server.url, told)) as pieces:
                head, first = await anext(pieces), await anext(pieces, b"")
                assert isinstance(head, Head) and isinstance(first, bytes)
                if _in_trouble(head, first) and not await self._sound():
                    self._die("its engine is no longer sound")
                yield head
                yield first
                async for piece in pieces:
                    yield piece
            if request.method == "POST" and (spent := await self._account.settled(entry)):
                yield spent
        except aiohttp.ClientError as error:
            if not await self._sound():
                self._die(f"its engine broke the connection: {error}")
            # One answer that cannot be read must not cost all the others.
            raise EngineError(Problem("replica", f"cannot read the answer: {error}")) from error

    async def whole(self, request: Relayed) -> Answer | None:
        """The same at once, and by whom; None if it does not come in time."""
        head, body = Head(0), bytearray()
        try:
            async with asyncio.timeout(WHOLE_LIMIT_S), aclosing(self.ask(request)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Head):
                        head = piece
                    elif isinstance(piece, bytes):
                        body += piece
        except TimeoutError:
            log.warning("%s %s: no answer in time", request.method, request.target)
            return None
        return Answer(self.name, head, bytes(body))

    async def hold(self, experts: str) -> str:
        """Count experts as this replica's own. The request itself loads them."""
        return experts

    async def account(self, front: str) -> list[Spent]:
        """What each agent's requests have cost, since a front first asked."""
        return self._account.sums(front)

    async def alive(self) -> bool:
        return await self._sound()

    async def reload(self) -> None:
        """Have keys, agents and experts read anew."""
        self._server.process.send_signal(signal.SIGHUP)

    async def check_health(self) -> None:
        """Ray Serve asks now and then, and replaces a replica where this raises."""
        if self._server.process.poll() is not None:
            raise EngineError(Problem("replica", "its engine has ended"))
        if not await self._sound(CHECK_LIMIT_S):
            raise EngineError(Problem("replica", "its engine does not say that it is sound"))

    async def __del__(self) -> None:
        """Ray Serve stops this replica; nothing is left for it to answer."""
        self._stopping = True
        if self._watch is None:  # still starting: the engine ends with this process, its lifeline
            return
        self._watch.cancel()
        await self._session.close()
        await asyncio.to_thread(self._stack.close)

    @property
    def name(self) -> str:
        """As it stands in metrics."""
        from ray import serve

        unique: Any = serve.get_replica_context().replica_id.unique_id
        return str(unique)

    def _account_for(self, reading: int, secret: str) -> None:
        """Have what the server tells through a pipe added up, until the server ends."""
        self._account, self._secret = Account(self.name), secret
        loop = asyncio.get_running_loop()
        os.set_blocking(reading, False)

        def read() -> None:
            data = os.read(reading, 2**16)
            self._account.read(data)
            if not data:
                loop.remove_reader(reading)
                os.close(reading)

        loop.add_reader(reading, read)

    async def _end_with_engine(self) -> None:
        while self._server.process.poll() is None:
            await asyncio.sleep(LOOK_EVERY_S)
        if not self._stopping:
            self._die(f"its engine ended with status {self._server.process.returncode}")

    async def _sound(self, limit_s: float = HEALTH_LIMIT_S) -> bool:
        limit = aiohttp.ClientTimeout(total=limit_s)
        try:
            async with self._session.get(f"{self._server.url}/health", timeout=limit) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _die(self, why: str) -> NoReturn:
        """Leave at once: Ray Serve finds an actor that died sooner than one that says it is ill."""
        log.critical("this replica ends: %s", why)
        with suppress(ProcessLookupError):
            os.killpg(self._server.process.pid, signal.SIGKILL)
        os._exit(1)


def session() -> aiohttp.ClientSession:
    """For requests to one engine: they are as many as the front lets in, and take their time."""
    return aiohttp.ClientSession(
        # A connection that is kept may be closed by the engine's server in the moment in which the
        # next request is written, and whether that was read nobody knows.
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )


async def fetched(
    session: aiohttp.ClientSession, url: str, request: Relayed
) -> AsyncGenerator[Piece, None]:
    """What a server at a URL answers: the head, then the body as it comes."""
    # As bytes on the wire the path stays what the client wrote.
    target = yarl.URL(f"{url}{request.target}", encoded=True)
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
    async with session.request(
        request.method, target, headers=headers, data=request.body, allow_redirects=False
    ) as answer:
        yield Head(answer.status, to_client(answer.raw_headers))
        async for piece in answer.content.iter_any():
            yield piece


def _in_trouble(head: Head, first: bytes) -> bool:
    """Whether an answer looks as if its engine had died."""
    return head.status >= 500 or (head.streams and first.startswith(_BAD_EVENT))
