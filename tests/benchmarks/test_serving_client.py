"""Requests of `benchmarks/serving_client.py`, against a server that says what they were."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from aiohttp import web
from serving_client import Ask, Client, Reply, ServerError

from hive_expert.serving.local_server import free_port


async def answer(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    if body["model"] == "absent":
        return web.json_response({"error": "no such model"}, status=404)
    if not body.get("stream"):
        choice = {"text": str(body["prompt"])}
        return web.json_response({"choices": [choice], "usage": {"completion_tokens": 3}})
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(body["max_tokens"]):
        broken = body["model"] == "broken" and number == 1
        piece = {"error": "lost"} if broken else {"choices": [{"text": ""}]}
        await response.write(b"data: " + json.dumps(piece).encode() + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    return response


@pytest.fixture
def client() -> Iterator[Client]:
    app = web.Application()
    app.router.add_post("/v1/completions", answer)
    runner = web.AppRunner(app)
    port = free_port()
    with Client(f"http://127.0.0.1:{port}/v1") as client:
        client.run(runner.setup())
        client.run(web.TCPSite(runner, "127.0.0.1", port).start())
        yield client
        client.run(runner.cleanup())


def test_every_piece_of_a_stream_is_timed(client: Client) -> None:
    reply = client.ask(Ask("base", (1, 2), tokens=4), stream=True)
    assert len(reply.arrivals) == reply.tokens == 4
    assert list(reply.arrivals) == sorted(reply.arrivals)
    assert 0 < reply.first_s <= reply.seconds


def test_an_error_in_a_stream_is_no_token(client: Client) -> None:
    with pytest.raises(ServerError, match="lost"):
        client.ask(Ask("broken", (1,), tokens=4), stream=True)


@pytest.mark.parametrize("stream", [True, False])
def test_a_refused_request_is_an_error(client: Client, stream: bool) -> None:
    with pytest.raises(ServerError, match=r"404.*no such model"):
        client.ask(Ask("absent", (1,), tokens=1), stream=stream)


def test_replies_come_in_the_order_of_the_requests(client: Client) -> None:
    asks = [Ask("base", (number,), tokens=1) for number in range(20)]
    seconds, replies = client.load(asks, clients=6)
    assert [reply.text for reply in replies] == [f"[{number}]" for number in range(20)]
    assert seconds >= max(reply.seconds for reply in replies)
    assert all(isinstance(reply, Reply) and reply.tokens == 3 for reply in replies)


def test_a_chat_and_a_prompt_go_to_their_own_routes() -> None:
    chat = Ask("a", ({"role": "user", "content": "Hi"},), tokens=5)
    assert (chat.path, "messages" in chat.body, chat.body["ignore_eos"]) == (
        "chat/completions",
        True,
        True,
    )
    free = Ask("a", (1, 2), tokens=5, free=True)
    assert (free.path, free.body["prompt"], "ignore_eos" in free.body) == (
        "completions",
        [1, 2],
        False,
    )
