from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from hive_expert.client.plain_http import ask_server, checked_url, refusal
from hive_expert.errors import ServerError, UsageError


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked; by path with an error or with nonsense."""

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        told: Any = {
            "method": self.command,
            "body": self.rfile.read(length).decode(),
            "key": self.headers.get("authorization"),
        }
        status = 200
        if self.path == "/refused":
            status, told = 401, {"error": {"message": "no key"}}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"<html>" if self.path == "/page" else json.dumps(told).encode())

    do_GET = do_POST = _answer  # noqa: N815 — names of the standard library

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_get_and_post(url: str) -> None:
    assert ask_server(url, "/")["method"] == "GET"
    asked = ask_server(url, "/", body={"a": 1}, api_key="secret")
    assert asked == {"method": "POST", "body": '{"a": 1}', "key": "Bearer secret"}


def test_a_refusal_is_told_in_the_server_s_words_with_a_remedy(url: str) -> None:
    with pytest.raises(ServerError, match=r"no key \(HTTP 401\) \(set HIVE_API_KEY"):
        ask_server(url, "/refused")


def test_what_is_no_json_is_told(url: str) -> None:
    with pytest.raises(ServerError, match="does not answer as hive-serve does"):
        ask_server(url, "/page")


def test_nobody_there_is_told_with_how_to_start_one() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ServerError, match="hive-serve --experts-dir"):
        ask_server(f"http://127.0.0.1:{port}", "/")


@pytest.mark.parametrize(
    "text", ["127.0.0.1:8000", "file:///etc/passwd", "ftp://host", "", "http:"]
)
def test_only_http_urls_are_asked(text: str) -> None:
    with pytest.raises(UsageError):
        checked_url(text)


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
def test_the_root_is_found(tail: str) -> None:
    assert checked_url(f"https://host:1{tail}") == "https://host:1"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"error": "x"}', b"\xff"])
def test_a_refusal_without_words_has_its_status(content: bytes) -> None:
    assert "HTTP 500" in str(refusal(500, content, "http://x"))
