"""A request's body, read whole within limits before the application sees the request.

Small and in time: otherwise one client could hold memory and a place in the queue as long as it
likes. Nesting is counted here, since parsers and validators behind call themselves for each level.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Message, Receive

MAX_DEPTH = 128
"""Levels of nesting in a body; a JSON Schema may have some dozens."""

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""Each escape of a string; the group is half of a surrogate pair alone."""
_OPENING = b"[{"
_CLOSING = b"]}"


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Of one request."""

    max_bytes: int = 4 * 2**20
    seconds: float = 30.0
    """For the whole of it to arrive."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """A body that is not read on."""

    status: int
    message: str


class ClientLeftError(Exception):
    """The client went away while its body was being read."""


async def read_body(receive: Receive, headers: Headers, limits: BodyLimits) -> bytes | Unfit:
    """All of a request's body.

    Raises:
        ClientLeftError: there is nobody to answer.
    """
    too_large = Unfit(413, f"A request may have {limits.max_bytes:,} bytes.")
    announced = headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > limits.max_bytes:
        return too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeftError
                body += message.get("body", b"")
                if len(body) > limits.max_bytes:
                    return too_large
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        return Unfit(408, f"The request did not arrive within {limits.seconds:g} s.")
    if too_deep(body):
        return Unfit(400, f"The request is nested deeper than {MAX_DEPTH} levels.")
    if not is_unicode(body):
        return Unfit(400, "The request is no UTF-8, or names half of a surrogate pair.")
    return bytes(body)


def is_unicode(body: bytes | bytearray) -> bool:
    """Whether all texts of a JSON body can be written as UTF-8 again.

    Parsers take half a surrogate pair (`\\ud83d`), and UTF-16 too, and whoever handles such a text
    later, or writes an error about it, fails.
    """
    if b"\0" in body[:4]:
        return False
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\\u" not in body or not any(found[1] for found in _ESCAPES.finditer(body))


def too_deep(body: bytes | bytearray, limit: int = MAX_DEPTH) -> bool:
    """Whether JSON of more than ``limit`` nested arrays and objects stands here."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    depth = 0
    for byte in _STRINGS.sub(b"", body):
        if byte in _OPENING:
            depth += 1
            if depth > limit:
                return True
        elif byte in _CLOSING:
            depth -= 1
    return False


def replay(body: bytes, receive: Receive) -> Receive:
    """What the application receives: the body at once, then whatever comes after it."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return first.pop() if first else await receive()

    return received
