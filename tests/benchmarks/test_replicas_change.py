"""What counts as a failed request while replicas change."""

from __future__ import annotations

import json

import pytest
import replicas_change
from aiohttp import ClientSession, web
from serving_client import Ask

ASK = Ask("expert-a", ({"role": "user", "content": "hello"},), 3)
SSE = "text/event-stream"
ERROR = 'data: {"error": {"code": 503}}'
CHUNK = 'data: {"id": "1"}'


def told(tokens: int) -> str:
    return json.dumps({"usage": {"completion_tokens": tokens}})


@pytest.mark.parametrize(
    ("status", "text", "stream", "wrong"),
    [
        (200, told(3), False, ""),
        (200, told(2), False, "2 tokens"),
        (503, "no", False, "503: no"),
        (200, f"{CHUNK}\n\ndata: [DONE]\n\n", True, ""),
        (200, f"{CHUNK}\n\n{ERROR}\n\ndata: [DONE]\n\n", True, "a stream that broke off"),
        (200, f"{CHUNK}\n\n", True, "a stream without an end"),
        (503, ERROR, True, f"503: {ERROR}"),
    ],
)
async def test_only_a_whole_answer_is_one(status: int, text: str, stream: bool, wrong: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert (await request.json())["stream"] is stream
        return web.Response(status=status, text=text, content_type=SSE if stream else None)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with ClientSession() as session:
        found = await replicas_change.ask(session, f"http://127.0.0.1:{port}", ASK, stream)
    await runner.cleanup()
    assert found == wrong
