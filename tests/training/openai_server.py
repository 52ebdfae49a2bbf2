"""A small HTTP server that speaks as much of OpenAI's protocol as evaluation uses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[dict[str, Any]], str | int]
"""From a chat completion request to the answer's text, or to an HTTP error status."""


@dataclass
class RecordingServer:
    """Where it listens and what it was sent, as (body, headers)."""

    endpoint: str
    requests: list[tuple[dict[str, Any], dict[str, str]]] = field(default_factory=list)


@contextmanager
def openai_server(reply: Reply, tokens: int = 6) -> Iterator[RecordingServer]:
    """A server whose answers cost so many tokens, five of them the answer's own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            recording.requests.append((body, headers))
            answer = reply(body)
            if isinstance(answer, int):
                self._send(answer, {"error": {"message": "no", "type": "bad", "code": answer}})
                return
            message = {"role": "assistant", "content": answer}
            self._send(
                200,
                {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 0,
                    "model": body["model"],
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {
                        "prompt_tokens": tokens - 5,
                        "completion_tokens": 5,
                        "total_tokens": tokens,
                    },
                },
            )

        def _send(self, status: int, document: dict[str, Any]) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recording = RecordingServer(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield recording
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
