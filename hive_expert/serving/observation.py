"""What is known of one request while it is being answered: for metrics, logs and traces.

It begins at the door and ends with the last byte of the answer. The parts between add what they
know; they find it by the context they run in, since vLLM's code stands between them.
"""

from __future__ import annotations

import re
import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from starlette.types import Message, Scope, Send

REQUEST_ID = b"x-request-id"

_GIVEN = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

Where = Literal["base", "hit", "cpu", "disk"]


@dataclass
class Observation:
    """One request."""

    request_id: str
    method: str
    path: str
    tenant: str | None = None
    knows_all: bool = False
    """Its sender may be told of all tenants."""
    refused: str | None = None
    """Why the door did not let it in."""
    asks_model: bool = False
    expert: str | None = None
    """Who answers, without versions and weights; None until that is known."""
    composed: bool = False
    """That is a composition, of which clients can name any number."""
    routed: bool = False
    """The router chose who answers."""
    where: Where = "base"
    """Where the expert's weights were."""
    load_s: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    first_token_s: float | None = None
    """From the first byte of the request to the first token of the answer, loading included."""
    validation: str | None = None
    """`passed`, `failed` or `unchecked`, for an expert whose answers are checked."""
    overflowed: bool = False
    """The expert's numbers overflowed, and there is no answer."""
    status: int = 0
    """HTTP status; 0 until the answer begins."""
    started: float = field(default_factory=time.perf_counter)
    ended: float | None = None

    @property
    def seconds(self) -> float:
        return (time.perf_counter() if self.ended is None else self.ended) - self.started


CURRENT: ContextVar[Observation | None] = ContextVar("hive_observation", default=None)
"""The request that the running code works for."""


def of_all_tenants() -> bool:
    """Whether whoever the running code works for may be told of all tenants; the server may."""
    seen = CURRENT.get()
    return seen is None or seen.knows_all


def begin(scope: Scope) -> Observation:
    """Observe a request from here on.

    Its id is the client's own `x-request-id` if that is a plain word, and else made here; what
    comes after finds it in the request's headers, and vLLM builds its own ids and traces from it.
    """
    headers = [(name, value) for name, value in scope["headers"] if name != REQUEST_ID]
    given = [value for name, value in scope["headers"] if name == REQUEST_ID]
    plain = len(given) == 1 and _GIVEN.fullmatch(given[0])
    request_id = given[0] if plain else secrets.token_hex(16).encode()
    scope["headers"] = [*headers, (REQUEST_ID, request_id)]
    observation = Observation(request_id.decode(), scope["method"], scope["path"])
    CURRENT.set(observation)
    return observation


def observing(send: Send, observation: Observation) -> Send:
    """A `send` that notes the status, and gives the answer the request's id."""

    async def observed(message: Message) -> None:
        if message["type"] == "http.response.start":
            observation.status = message["status"]
            rest = [(n, v) for n, v in message.get("headers", ()) if n.lower() != REQUEST_ID]
            message["headers"] = [*rest, (REQUEST_ID, observation.request_id.encode())]
        await send(message)

    return observed
