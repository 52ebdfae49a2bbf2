"""An expert whose numbers overflow: its clients get an error, and its neighbours what is theirs."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from tests.e2e.conftest import Server
from tests.e2e.synthetic import OVERFLOWING
from tests.e2e.test_serving import BASE, BASE_MESSAGES
from tests.e2e.test_telemetry import value

pytestmark = pytest.mark.e2e

WHAT = f"`{OVERFLOWING}` has no answer to this: its adapter's numbers overflow"
NEIGHBOURS = 4


async def asked(server: Server, route: str, **more: Any) -> Any:
    """What comes of one question, the last of a stream's events included."""
    client = server.async_client
    if route == "chat":
        answer = await client.chat.completions.create(messages=BASE_MESSAGES, **more)
    elif route == "completions":
        answer = await client.completions.create(prompt="Once upon a time", **more)
    else:
        answer = await client.responses.create(input="Once upon a time", **more)
    return [event async for event in answer][-1] if more.get("stream") else answer


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", ["chat", "completions", "responses"])
async def test_whoever_asks_it_gets_an_error_that_names_it(
    server: Server, route: str, *, stream: bool
) -> None:
    before = value(server, "hive_overflows_total", expert=OVERFLOWING)
    try:
        # One token, which would be the whole answer.
        name = "max_output_tokens" if route == "responses" else "max_tokens"
        last = await asked(server, route, model=OVERFLOWING, stream=stream, extra_body={name: 1})
        assert (route, stream, last.type) == ("responses", True, "error")
        assert last.message.startswith(WHAT)
    except openai.InternalServerError as error:
        assert not stream
        assert error.status_code == 500
        assert WHAT in error.message
        assert error.response.headers["x-should-retry"] == "false"
    except openai.APIError as error:
        assert stream
        assert WHAT in error.message
    assert value(server, "hive_overflows_total", expert=OVERFLOWING) == before + 1


async def test_its_neighbours_answer_as_ever(server: Server) -> None:
    """In the same steps, and in the blocks that it leaves behind."""

    async def neighbour(number: int) -> str:
        answer = await server.async_client.chat.completions.create(
            model=BASE,
            messages=[{"role": "user", "content": f"Count from {number} to ten."}],
            temperature=0,
            max_tokens=24,
            # Nothing of it is found in the prefix cache: it is computed anew, in other blocks.
            extra_body={"cache_salt": f"{number} {next(salts)}"},
        )
        return str(answer.choices[0].message.content)

    async def wild() -> None:
        with pytest.raises(openai.InternalServerError, match="overflow"):
            await asked(server, "chat", model=OVERFLOWING, max_tokens=8)

    salts = iter(range(10_000))
    quiet = [await neighbour(number) for number in range(NEIGHBOURS)]
    for _ in range(3):
        beside, _ = await asyncio.gather(
            asyncio.gather(*(neighbour(number) for number in range(NEIGHBOURS))),
            asyncio.gather(*(wild() for _ in range(NEIGHBOURS))),
        )
        assert beside == quiet
