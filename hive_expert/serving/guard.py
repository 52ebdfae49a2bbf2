"""The door of the server: each request passes here before anything else sees it.

In this order: is there such a route, may this caller use it (and, where nobody has to show a key,
does the request come from a page of another site), is there room for one more, is the body fit.
What does not pass is answered here, in OpenAI's error shape; the application gets the rest.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hive_expert.decoding.turns import OWNER
from hive_expert.errors import BudgetError
from hive_expert.serving.agents import AgentsSource
from hive_expert.serving.auth import Caller, Denial, Keys, KeySources
from hive_expert.serving.body import BodyLimits, ClientLeftError, Unfit, read_body, replay
from hive_expert.serving.front_link import FrontLink, LinkSettings, Told
from hive_expert.serving.ledger import Ledger
from hive_expert.serving.observation import Observation, begin, observing
from hive_expert.serving.origin import foreign_page, showing
from hive_expert.serving.routes import LOOKING_ON, STREAMED, Access, RouteTable, Unlisted
from hive_expert.serving.telemetry import Telemetry
from hive_expert.serving.traffic import Traffic, TrafficLimits, TurnedAway

CALLER = "hive_caller"
"""Where a request's `Caller` stands in its state (`request.state.hive_caller`)."""

ERRAND = "hive_errand"
"""In the scope of a request that the server itself makes for a batch: its `Caller`. A client cannot
put anything there: it decides about headers and body alone. See `front_link` for a replica's."""

FOREIGN = "Pages of other sites may not call this server; hive-serve --allow-origin lets them."


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """The user's decisions about who gets in, and how many."""

    keys: KeySources = field(default_factory=KeySources)
    local: bool = True
    """Only this machine reaches the server."""
    traffic: TrafficLimits = field(default_factory=TrafficLimits)
    body: BodyLimits = field(default_factory=BodyLimits)
    origins: frozenset[str] = frozenset()
    """Sites whose pages may call this server from a browser, beside its own."""
    agents: AgentsSource = field(default_factory=AgentsSource)
    """What each tenant may have."""
    link: LinkSettings | None = None
    """To the front that stands before this server; None: clients reach it themselves."""

    def open(self) -> Door:
        """A door of these settings.

        Raises:
            UsageError: as `KeySources.load` and `AgentsSource.load`.
        """
        keys = self.keys.load(local=self.local)
        traffic, ledger = Traffic(self.traffic), Ledger(self.agents.load())
        link = None if self.link is None else FrontLink(self.link)
        table, origins = RouteTable(), self.origins
        return Door(keys, table, traffic, self.body, origins, ledger=ledger, link=link)


@dataclass
class Door:
    """What the guard of a running server goes by. `keys` and `ledger.agents` are replaced whole,
    never edited."""

    keys: Keys = field(default_factory=Keys)
    table: RouteTable = field(default_factory=RouteTable)
    traffic: Traffic = field(default_factory=Traffic)
    body: BodyLimits = field(default_factory=BodyLimits)
    origins: frozenset[str] = frozenset()
    telemetry: Telemetry | None = None
    ledger: Ledger = field(default_factory=Ledger)
    link: FrontLink | None = None


class Guard:
    """ASGI middleware. The application's state holds a `Door` as `hive_door`.

    Law: no request reaches the application unless the route table lists it and its caller may use
    it; websockets never do.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        door: Door = scope["app"].state.hive_door
        told = None if door.link is None else door.link.told(scope)
        seen = begin(scope)
        try:
            sending = showing(observing(send, seen), scope, door.origins)
            await self._enter(door, seen, told, scope, receive, sending)
        finally:
            seen.ended = time.perf_counter()
            tokens = seen.prompt_tokens + seen.completion_tokens
            door.ledger.add(seen.tenant, tokens)
            if door.link is not None:
                door.link.settle(told, seen.tenant, tokens)
            if door.telemetry is not None:
                door.telemetry.record(seen)

    async def _enter(
        self,
        door: Door,
        seen: Observation,
        told: Told | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        access = door.table.access(scope["method"], scope["path"])
        if isinstance(access, Unlisted):
            seen.refused = "route"
            await _unlisted(access)(scope, receive, send)
            return
        headers = Headers(scope=scope)
        errand = scope.get(ERRAND) or _errand(told, access)
        admitted = errand or door.keys.admit(access, presented_key(headers))
        if (
            isinstance(admitted, Caller)
            and admitted.tenant is None
            and admitted.job is None
            and foreign_page(headers, door.origins, local=door.keys.local)
        ):
            admitted = Denial(403, FOREIGN)
        if isinstance(admitted, Denial):
            seen.refused = "key"
            await _denied(admitted)(scope, receive, send)
            return
        seen.tenant = admitted.tenant
        seen.knows_all = admitted.admin or not door.keys.any
        OWNER.set(admitted.tenant)
        scope.setdefault("state", {})[CALLER] = admitted
        asked = scope["method"], scope["path"]
        if scope["method"] in ("GET", "HEAD") or asked in STREAMED:
            await self._app(scope, receive, send)
        elif access is Access.INFERENCE and asked not in LOOKING_ON:
            seen.asks_model = True
            await self._with_room(door, seen, admitted, scope, receive, send)
        else:
            await self._with_body(door, seen, scope, receive, send)

    async def _with_room(
        self,
        door: Door,
        seen: Observation,
        caller: Caller,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Pass a request on that asks a model, if its sender has tokens left and there is room."""
        try:
            door.ledger.require_left(caller.tenant)
        except BudgetError as error:
            seen.refused = "budget"
            await _spent(error)(scope, receive, send)
            return
        job = caller.job is not None
        turned_away = door.traffic.enter(seen.tenant, job=job)
        if turned_away is not None:
            seen.refused = turned_away.reason
            await _busy(turned_away)(scope, receive, send)
            return
        try:
            await self._with_body(door, seen, scope, receive, send)
        finally:
            door.traffic.leave(seen.tenant, job=job)

    async def _with_body(
        self, door: Door, seen: Observation, scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            body = await read_body(receive, Headers(scope=scope), door.body)
        except ClientLeftError:
            return
        if isinstance(body, Unfit):
            seen.refused = "body"
            # The rest of the body is still on the line.
            answer = error_answer(
                body.status, "BadRequestError", body.message, {"connection": "close"}
            )
            await answer(scope, receive, send)
            return
        await self._app(scope, replay(body, receive), send)


def _errand(told: Told | None, access: Access) -> Caller | None:
    """For whom a front asks; it has nothing to ask but models."""
    return told.errand if told is not None and access is Access.INFERENCE else None


def caller_of(scope: Scope) -> Caller:
    """Who sends a request that has passed the guard."""
    caller: Caller = scope["state"][CALLER]
    return caller


def presented_key(headers: Headers) -> str | None:
    """The key a request carries: as OpenAI's clients send it, or Anthropic's."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key") or None


def error_answer(
    status: int, kind: str, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error in OpenAI's shape."""
    error = {"message": message, "type": kind, "param": None, "code": status}
    return JSONResponse({"error": error}, status_code=status, headers=headers)


def _unlisted(found: Unlisted) -> JSONResponse:
    if found.allowed:
        allow = {"allow": ", ".join(found.allowed)}
        return error_answer(405, "MethodNotAllowedError", "Method Not Allowed", allow)
    return error_answer(404, "NotFoundError", "Not Found")


def _busy(turned_away: TurnedAway) -> JSONResponse:
    kind = "RateLimitError" if turned_away.status == 429 else "ServiceUnavailableError"
    later = {"retry-after": str(turned_away.retry_after_s)}
    return error_answer(turned_away.status, kind, turned_away.message, later)


def _spent(error: BudgetError) -> JSONResponse:
    # OpenAI's clients ask again within seconds, unless they are told that this is in vain.
    later = {"retry-after": str(error.again_s), "x-should-retry": "false"}
    return error_answer(429, "insufficient_quota", str(error.problems[0]), later)


def _denied(denial: Denial) -> JSONResponse:
    if denial.status == 401:
        challenge = {"www-authenticate": "Bearer"}
        return error_answer(401, "AuthenticationError", denial.message, challenge)
    return error_answer(denial.status, "PermissionDeniedError", denial.message)
