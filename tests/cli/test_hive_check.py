"""hive check against a server that answers as it is told; the real engine is in tests/e2e."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hive_expert.cli.hive import main
from hive_expert.package.open import examine_package
from tests.package import samples
from tests.sharing.world import User

RIGHT = '{"a": 1}'
CASES = {
    "format": 1, "metric": "json_schema",
    "cases": [
        {"id": str(n), "category": "x", "messages": [{"role": "user", "content": str(n)}],
         "expected": RIGHT, "schema": {"type": "object"}}
        for n in range(40)
    ],
}  # fmt: skip


@pytest.fixture
def packed(user: User, tmp_path: Path) -> Callable[..., Path]:
    """The sample with test cases, and claims about them, in the user's experts directory."""
    user.directory.mkdir(parents=True)

    def pack(cases: Any = CASES, **claims: Any) -> Path:
        source = samples.expert_directory(
            tmp_path, evaluation={"test_cases": "tests/test_cases.json"}, quality_metrics=claims
        )
        (source / "tests" / "test_cases.json").write_text(json.dumps(cases))
        from hive_expert.package.pack import build_package

        signer = samples.key("Ann")
        return build_package(source, model=None, output=user.directory, signer=signer).path

    return pack


class Server:
    """Answers the expert's requests rightly for the first ``right`` cases, the base's never."""

    def __init__(self, digest: str, right: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/v1/models":
                    self._send({"data": [{"id": "base"}]})
                else:
                    self._send({"id": "expert-sample", "digest": f"sha256:{digest}"})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                number = int(body["messages"][-1]["content"])
                knows = body["model"].startswith("expert-") and number < right
                message = {"role": "assistant", "content": RIGHT if knows else "{}"}
                self._send(
                    {
                        "id": "1", "object": "chat.completion", "created": 0, "model": "x",
                        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    }
                )  # fmt: skip

            def _send(self, document: dict[str, Any]) -> None:
                data = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(package: Path, right: int) -> Server:
        started.append(Server(examine_package(package).facts.digest, right))
        return started[-1]

    yield start
    for one in started:
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def user(home: Path) -> User:
    return User(home)


def check(user: User, server: Server, *words: str, exit_code: int = 0) -> Result:
    line = ["check", "expert-sample", "--experts-dir", str(user.directory), "--url", server.url]
    result = CliRunner().invoke(main, [*line, *words])
    assert result.exit_code == exit_code, result.output
    return result


def test_true_claims_are_reproduced_and_listed(
    user: User, packed: Callable[..., Path], serve: Callable[..., Server]
) -> None:
    made = packed(benchmark_score=0.5, base_model_score=0.0, win_rate_vs_base=0.75)
    found = json.loads(check(user, serve(made, 20), "--json").stdout)
    assert found["reproduced"] is True
    assert {c["claim"] for c in found["claims"]} == {
        "benchmark_score", "base_model_score", "win_rate_vs_base",
    }  # fmt: skip
    assert found["score"] == 0.5
    shown = CliRunner().invoke(main, ["list", "--experts-dir", str(user.directory), "--json"])
    (entry,) = json.loads(shown.stdout)
    assert entry["check"]["reproduced"] is True


def test_an_inflated_claim_is_not_reproduced(
    user: User, packed: Callable[..., Path], serve: Callable[..., Server]
) -> None:
    made = packed(benchmark_score=0.95)
    result = check(user, serve(made, 20), "--expert-only", exit_code=1)
    assert "not reproduced\tbenchmark_score: claimed 0.95, measured 0.5" in result.stdout
    shown = CliRunner().invoke(main, ["list", "--experts-dir", str(user.directory), "--json"])
    (entry,) = json.loads(shown.stdout)
    assert entry["check"]["reproduced"] is False
    assert entry["check"]["broken"]


def test_a_server_with_another_package_of_the_name_is_no_measure(
    user: User, packed: Callable[..., Path]
) -> None:
    packed(benchmark_score=0.5)
    other = Server("0" * 64, 40)
    try:
        assert "another package" in check(user, other, exit_code=1).stderr
    finally:
        other.server.shutdown()
        other.server.server_close()


def test_without_test_cases_nothing_is_checked(user: User, tmp_path: Path) -> None:
    user.directory.mkdir(parents=True)
    made = samples.package(tmp_path, samples.key("Ann"))
    made.rename(user.directory / made.name)
    line = ["check", "expert-sample", "--experts-dir", str(user.directory), "--url", "http://x"]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 1
    assert "nothing can be checked" in result.stderr or "no cases" in result.stderr


def test_an_expert_that_is_not_there(user: User) -> None:
    line = ["check", "expert-nobody", "--experts-dir", str(user.directory)]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 1
    assert "hive install it first" in result.stderr
