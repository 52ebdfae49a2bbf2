"""What a client says of a connection that breaks off: never that all went well."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from hive_expert.client.jobs import JobsClient
from hive_expert.client.pipeline_runs import Run
from hive_expert.client.plain_http import ask_server
from hive_expert.errors import ServerError

LINE = b'{"custom_id": "line-1", "response": null, "error": {"message": "x"}}\n'


class Breaking(BaseHTTPRequestHandler):
    """Answers in part, and refuses uploads while they come."""

    uploads = 0

    def do_GET(self) -> None:
        kind = self.path.split("/")[3] if self.path.count("/") > 3 else ""
        if self.headers.get("authorization") == "Bearer wrong":
            self._answer(401, json.dumps({"error": {"message": "no such key"}}).encode())
        elif kind:
            self._answer(200, LINE, owed=1 if kind == "whole" else 1000)
            if kind == "silent":
                time.sleep(0.5)
            elif kind == "reset":
                self._reset()
        elif self.path == "/short":
            self._answer(200, b"{", owed=1000)
        else:
            self._answer(200, json.dumps({"data": [], "has_more": False}).encode())

    def do_POST(self) -> None:
        Breaking.uploads += 1
        self.rfile.read(1000)
        self._reset()

    def _answer(self, status: int, content: bytes, owed: int = 1) -> None:
        self.send_response(status)
        self.send_header("content-length", str(max(owed, len(content))))
        self.end_headers()
        self.wfile.write(content)

    def _reset(self) -> None:
        self.wfile.flush()
        at_once = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A connection that it has closed itself is none to talk about."""


@pytest.fixture(scope="module")
def client() -> Iterator[JobsClient]:
    server = Server(("127.0.0.1", 0), Breaking)
    Thread(target=server.serve_forever, daemon=True).start()
    yield JobsClient(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that is still sent when its refusal comes."""
    path = tmp_path / "large.jsonl"
    with path.open("wb") as out:
        out.truncate(32 * 2**20)
    return path


def test_a_whole_file_is_fetched(client: JobsClient) -> None:
    assert b"".join(client.content("whole")) == LINE


@pytest.mark.parametrize("how", ["short", "reset"])
def test_half_a_file_is_no_file(client: JobsClient, how: str) -> None:
    with pytest.raises(ServerError, match=r"broke off \(run the command again"):
        b"".join(client.content(how))


def test_a_file_that_stops_coming_is_no_file(
    client: JobsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hive_expert.client.jobs._SILENCE_S", 0.1)
    with pytest.raises(ServerError, match="did not answer in time"):
        b"".join(client.content("silent"))


def test_half_of_the_results_are_not_the_results(client: JobsClient) -> None:
    with pytest.raises(ServerError, match="broke off"):
        list(Run(client, "run", {})._lines("short"))


def test_half_an_answer_is_no_answer(client: JobsClient) -> None:
    with pytest.raises(ServerError, match="broke off"):
        ask_server(client.url, "/short")


def test_an_upload_that_is_refused_while_it_is_sent_is_told_as_such(
    client: JobsClient, large: Path
) -> None:
    with pytest.raises(ServerError, match=r"broke the upload off .*--max-file-mib"):
        client.upload(large)


def test_a_wrong_key_is_told_before_anything_is_sent(client: JobsClient, large: Path) -> None:
    before = Breaking.uploads
    with pytest.raises(ServerError, match="no such key"):
        JobsClient(client.url, "wrong").upload(large)
    assert Breaking.uploads == before


def test_a_missing_server_is_told_as_such(large: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ServerError, match="no server answers there"):
        JobsClient(f"http://127.0.0.1:{port}").upload(large)
