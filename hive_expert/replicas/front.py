"""The front: one application that knows the callers, and has replicas that know the models.

Its guard is the one of a server alone (`serving.guard`), so keys, the table of routes, and limits
of bodies and places hold before a request goes anywhere. Places and tokens are counted here, over
all replicas, and files and batches are kept here (`front_jobs`). What cannot be true of several
replicas is refused, with what to do instead.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hive_expert.errors import EngineError, HiveError
from hive_expert.replicas import merge
from hive_expert.replicas.account import Counted
from hive_expert.replicas.affinity import AUTO, Known, model_of, names_of
from hive_expert.replicas.pulse import Pulse
from hive_expert.replicas.relay import Answer, Head, Relayed, Spent, to_replica
from hive_expert.replicas.retry import Piece, answer
from hive_expert.serving.guard import caller_of, error_answer
from hive_expert.serving.ledger import Ledger
from hive_expert.serving.routes import ROUTES, Access, RouteTable

log = logging.getLogger("hive_expert.replicas")

MODELS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses"})
"""Routes whose requests share replicas by their experts."""

ACCOUNT_EVERY_S = 2.0
"""How often all replicas are asked what was spent there: an answer that its client did not wait for
tells nothing."""

_JOBS = RouteTable({route: access for route, access in ROUTES.items() if access is Access.JOBS})


class Engines(Protocol):
    """All replicas."""

    lost: tuple[type[BaseException], ...]
    """What is raised where a replica has fallen away."""

    def ask(self, request: Relayed) -> AsyncGenerator[Piece, None]:
        """The answer of one of them: one that holds the request's experts, if any does."""
        ...

    async def ask_all(self, request: Relayed) -> list[Answer]:
        """The answers of all that are there. Raises EngineError if none is."""
        ...

    async def accounts(self, front: str) -> list[list[Spent]]:
        """What was spent for a front in each that is there. Raises EngineError if one fails."""
        ...

    async def alive(self) -> bool:
        """Whether any of them could answer now."""
        ...


class Front:
    """The ASGI application behind the guard. ``jobs`` answers the routes of files and batches."""

    def __init__(
        self, engines: Engines, registry: CollectorRegistry, ledger: Ledger, jobs: ASGIApp
    ) -> None:
        self._engines = engines
        self._registry = registry
        self._jobs = jobs
        self._counted = Counted(ledger)
        self._name = secrets.token_hex(8)
        self._known = Known()
        self._pulse = Pulse(engines.alive)

    async def keep_account(self, there: Callable[[int], None]) -> None:
        """Count what is spent, until cancelled; ``there`` is told how many replicas there are."""
        while True:
            await asyncio.sleep(ACCOUNT_EVERY_S)
            try:
                there(await self.take_account())
            except Exception:
                # A task that dies unseen would leave tokens uncounted from then on.
                log.exception("tokens are counted later")

    async def take_account(self) -> int:
        """Count what was spent; how many replicas said so."""
        try:
            told = await self._engines.accounts(self._name)
        except EngineError as error:
            log.warning("tokens are counted later: %s", error)
            return 0
        for sums in told:
            for spent in sums:
                self._counted.add(spent)
        return len(told)

    async def asked(self, request: Relayed) -> Answer:
        """What any of the replicas says. Raises EngineError if none does."""
        head, body = Head(503), b""
        request = replace(request, front=self._name)
        async with aclosing(
            answer(lambda: self._engines.ask(request), self._engines.lost)
        ) as pieces:
            async for piece in pieces:
                if isinstance(piece, Head):
                    head = piece
                elif isinstance(piece, Spent):
                    self._counted.add(piece)
                else:
                    body += piece
        return Answer("", head, body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if isinstance(_JOBS.access(method, path), Access):
            await self._jobs(scope, receive, send)
            return
        if path == "/health":
            status = 200 if await self._pulse.felt() else 503
            await Response(status_code=status)(scope, receive, send)
            return
        try:
            request = replace(await _relayed(scope, receive), front=self._name)
            together = await self._together(request, path)
        except ClientDisconnect:
            return
        except HiveError as error:
            await _unavailable(error)(scope, receive, send)
            return
        if together is not None:
            await together(scope, receive, send)
            return
        await self._pass_on(request, path, scope, receive, send)

    async def _together(self, request: Relayed, path: str) -> Response | None:
        """What concerns all replicas; None for what one of them answers."""
        if request.method == "HEAD":  # there is nothing to put together
            return None
        if path == "/metrics":
            return await self._metrics(request)
        if path == "/v1/experts":
            answers = await self._engines.ask_all(request)
            return _refused(answers) or _listing(answers)
        if not path.startswith("/v1/experts/"):
            return None
        name, _, action = path.removeprefix("/v1/experts/").partition("/")
        if action in ("pin", "unpin"):
            what = f"{action} is not served with --replicas: start hive-serve with --pin."
            return error_answer(501, "NotImplementedError", what)
        if action == "load":
            return None
        answers = await self._engines.ask_all(request)
        refused = _refused(answers)
        if refused is not None:
            return refused
        if name == "rescan":
            return _listing(answers)
        known = merge.found(answers)
        merged = merge.expert(known)
        if action == "unload":
            merged["unloaded"] = all(json.loads(a.body)["unloaded"] for a in known)
        return JSONResponse(merged)

    async def _metrics(self, request: Relayed) -> Response:
        answers = await self._engines.ask_all(request)
        refused = _refused(answers)
        if refused is not None:
            return refused
        pages = {found.replica: found.body.decode() for found in answers}
        pages["front"] = generate_latest(self._registry).decode()
        return Response(merge.labelled(pages), media_type="text/plain; version=0.0.4")

    async def _pass_on(
        self, request: Relayed, path: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """One replica's answer, another one's if that falls away in time."""
        began = False
        try:
            placed = replace(request, experts=await self._experts(request, path))
            pieces = answer(lambda: self._engines.ask(placed), self._engines.lost)
            async with aclosing(pieces):
                async for piece in pieces:
                    if isinstance(piece, Spent):
                        self._counted.add(piece)
                        continue
                    await send(_message(piece))
                    began = True
            await send({"type": "http.response.body", "body": b""})
        except HiveError as error:
            log.error("%s %s: %s", request.method, path, error)
            refusal = _unavailable(error)
            if not began:
                await refusal(scope, receive, send)
                return
            # As vLLM's own server ends a stream that has failed.
            last = b"data: " + bytes(refusal.body) + b"\n\ndata: [DONE]\n\n"
            await send({"type": "http.response.body", "body": last})

    async def _experts(self, request: Relayed, path: str) -> str:
        """What the request shares a replica by; nothing, where that cannot be found out: any
        replica can answer it."""
        try:
            return await self._shared(request, path)
        except EngineError as error:
            log.warning("%s %s goes to any replica: %s", request.method, path, error)
            return ""

    async def _shared(self, request: Relayed, path: str) -> str:
        if request.method != "POST":
            return ""
        if path.startswith("/v1/experts/"):  # the only one that comes here: load
            name = path.removeprefix("/v1/experts/").partition("/")[0]
            return await self._known.key(names_of(name), partial(self._names, request))
        if path not in MODELS:
            return ""
        model = model_of(request.body)
        if model == AUTO:
            model = await self._decided(request)
        return await self._known.key(names_of(model), partial(self._names, request))

    async def _decided(self, request: Relayed) -> object:
        """Who would answer `auto`, so that it meets its expert. The replica that gets the request
        decides once more, by the same rules and with what it holds, and says so in its headers."""
        found = await self.asked(request.to("POST", "/v1/route"))
        return model_of(found.body) if found.head.status == 200 else None

    async def _names(self, request: Relayed) -> frozenset[str]:
        """All that may be asked for, on behalf of a request's caller."""
        found = await self.asked(request.to("GET", "/v1/models", b""))
        if found.head.status != 200:
            return frozenset()
        return frozenset(card["id"] for card in json.loads(found.body)["data"])


async def _relayed(scope: Scope, receive: Receive) -> Relayed:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    target = raw.partition(b"?")[0] + (b"?" + query if query else b"")
    caller = caller_of(scope)
    return Relayed(
        scope["method"],
        target.decode("ascii", "backslashreplace"),
        to_replica(scope["headers"]),
        await Request(scope, receive).body(),
        errand=caller if caller.job is not None else None,
    )


def _message(piece: Head | bytes) -> dict[str, object]:
    if isinstance(piece, Head):
        headers = list(piece.headers)
        return {"type": "http.response.start", "status": piece.status, "headers": headers}
    return {"type": "http.response.body", "body": piece, "more_body": True}


def _refused(answers: list[Answer]) -> Response | None:
    refusal = merge.first_refusal(answers)
    if refusal is None:
        return None
    return Response(refusal.body, refusal.head.status, media_type="application/json")


def _listing(answers: list[Answer]) -> Response:
    admin = [value for name, value in answers[0].head.headers if name == b"x-hive-admin"]
    headers = {"x-hive-admin": admin[0].decode()} if admin else None
    return JSONResponse(merge.experts(answers), headers=headers)


def _unavailable(error: HiveError) -> JSONResponse:
    assert isinstance(error, EngineError)  # nothing else is raised here
    return error_answer(503, "ServiceUnavailableError", str(error.problems[0]))
