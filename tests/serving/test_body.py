"""A body is read whole, in time and within its limits, or not at all."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.datastructures import Headers

from hive_expert.serving.body import (
    MAX_DEPTH,
    BodyLimits,
    ClientLeftError,
    Unfit,
    is_unicode,
    read_body,
    replay,
    too_deep,
)

LIMITS = BodyLimits(max_bytes=100, seconds=0.05)


def sender(*chunks: bytes | None) -> Any:
    """A client that sends chunks, or leaves at None; after the last it waits for ever."""
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.sleep(3600)
        chunk = left.pop(0)
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": chunk != b""}

    return receive


async def read(*chunks: bytes | None, length: str | None = None) -> bytes | Unfit:
    headers = Headers({} if length is None else {"content-length": length})
    return await read_body(sender(*chunks), headers, LIMITS)


async def test_chunks_are_joined() -> None:
    assert await read(b"{}", b"  ", b"") == b"{}  "


@pytest.mark.parametrize(
    ("chunks", "length", "status"),
    [
        ((b"",), "101", 413),
        ((b"",), "-1", 413),
        ((b"",), "1e9", 413),
        ((b"x" * 101, b""), None, 413),
        ((b"x" * 60, b"x" * 60, b""), None, 413),
        ((b"x" * 60,), None, 408),
        ((), None, 408),
    ],
    ids=["announced", "negative", "no number", "at once", "in parts", "stalls", "nothing comes"],
)
async def test_what_is_too_large_or_too_slow_is_not_read_on(
    chunks: tuple[bytes, ...], length: str | None, status: int
) -> None:
    found = await read(*chunks, length=length)
    assert isinstance(found, Unfit)
    assert found.status == status


async def test_a_client_that_leaves_gets_no_answer() -> None:
    with pytest.raises(ClientLeftError):
        await read(b"{", None)


async def test_what_is_nested_too_deep_is_refused() -> None:
    limits = BodyLimits()
    body = b'{"messages": ' + b"[" * 200 + b"]" * 200 + b"}"
    found = await read_body(sender(body, b""), Headers({}), limits)
    assert isinstance(found, Unfit)
    assert found.status == 400


def test_brackets_in_strings_do_not_nest() -> None:
    assert not too_deep(json.dumps({"text": "[{" * 1000 + '\\"[' * 500}).encode())
    assert not too_deep(json.dumps([["flat"]] * 1000).encode())


def test_an_open_string_hides_nothing() -> None:
    assert too_deep(b"[" * 200 + b'"')


@pytest.mark.parametrize(
    "body",
    [
        rb'{"a": "\ud83d"}',
        rb'{"a": "\uDE00"}',
        rb'{"a": "\ude00\ud83d"}',
        rb'{"a": "\ud83d\\ude00"}',
        rb'{"\ud83d": 1}',
        b'{"a": "\xed\xa0\xbd"}',
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16-le"),
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-32-be"),
    ],
)
async def test_what_no_utf8_can_say_is_refused(body: bytes) -> None:
    found = await read(body, b"")
    assert isinstance(found, Unfit)
    assert found.status == 400


@pytest.mark.parametrize("text", ["\U0001f600", "\\ud83d", "\\\\ud83d", "\ud7ff\ue000", "\0"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_every_text_is_allowed(text: str, ascii_only: bool) -> None:
    assert is_unicode(json.dumps({"a": text}, ensure_ascii=ascii_only).encode())


async def test_the_application_receives_the_body_and_what_follows() -> None:
    receive = replay(b"body", sender(None))
    assert await receive() == {"type": "http.request", "body": b"body", "more_body": False}
    assert (await receive())["type"] == "http.disconnect"


def test_the_depth_of_a_usual_request_is_allowed() -> None:
    assert MAX_DEPTH > 50
