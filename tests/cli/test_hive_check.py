"""hive check against a server that answers as it is told; the real engine is in tests/e2e."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
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
    """Answers the expert's requests rightly for the first ``right`` cases, the base's never.

    From the ``fails_after``-th question on it fails, by a status, or by hanging until it is healed.
    """

    def __init__(
        self, digest: str, right: int, *, fails_after: int | None = None, status: int = 0
    ) -> None:
        self.asked: list[tuple[str, str]] = []
        self.keys: set[str] = set()
        self.healed = Event()
        if fails_after is None:
            self.healed.set()
        this = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/v1/models":
                    self._send({"data": [{"id": "base"}]})
                else:
                    self._send({"id": "expert-sample", "digest": f"sha256:{digest}"})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                number = int(body["messages"][-1]["content"])
                this.keys.add(self.headers["authorization"])
                this.asked.append((body["model"], str(number)))
                if not this.healed.is_set() and len(this.asked) > (fails_after or 0):
                    if status:
                        self.send_error(status)
                        return
                    this.healed.wait(60)
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

    def start(package: Path, right: int, **failing: int) -> Server:
        started.append(Server(examine_package(package).facts.digest, right, **failing))
        return started[-1]

    yield start
    for one in started:
        one.healed.set()
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
    made = packed(benchmark_score=0.5, base_model_score=0.0, win_rate_vs_base=0.5)
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


def test_a_sample_has_a_wider_interval_and_is_told_as_one(
    user: User, packed: Callable[..., Path], serve: Callable[..., Server]
) -> None:
    server = serve(packed(benchmark_score=0.7), 20)
    assert json.loads(check(user, server, "--json", exit_code=1).stdout)["broken"]
    sampled = json.loads(check(user, server, "--limit", "8", "--json").stdout)
    assert (sampled["cases"], sampled["total"], sampled["score"]) == (8, 40, 0.5)
    assert sampled["low"] < 0.25 and sampled["high"] > 0.75
    asked = {case for model, case in server.asked[-24:] if model.startswith("expert-")}
    assert {int(case) // 5 for case in asked} == set(range(8)), "spread over all"
    shown = CliRunner().invoke(main, ["list", "--experts-dir", str(user.directory), "--json"])
    (entry,) = json.loads(shown.stdout)
    assert (entry["check"]["cases"], entry["check"]["total"]) == (8, 40)


def test_claims_that_were_not_looked_at_are_named(
    user: User, packed: Callable[..., Path], serve: Callable[..., Server]
) -> None:
    server = serve(packed(benchmark_score=0.5, base_model_score=0.0, win_rate_vs_base=0.5), 20)
    result = check(user, server, "--expert-only")
    assert "not looked at\tbase_model_score" in result.stdout
    found = json.loads(check(user, server, "--expert-only", "--json").stdout)
    assert found["unjudged"] == ["base_model_score", "win_rate_vs_base"]


def test_nothing_claimed_is_neither_reproduced_nor_remembered(
    user: User, packed: Callable[..., Path], serve: Callable[..., Server]
) -> None:
    found = json.loads(check(user, serve(packed(), 20), "--json").stdout)
    assert found["reproduced"] is None
    shown = CliRunner().invoke(main, ["list", "--experts-dir", str(user.directory), "--json"])
    assert "check" not in json.loads(shown.stdout)[0]


def test_when_the_time_is_up_it_says_how_far_it_came_and_goes_on_from_there(
    user: User, packed: Callable[..., Path], serve: Callable[..., Server], home: Path
) -> None:
    server = serve(packed(benchmark_score=0.5), 20, fails_after=10)
    slow = ("--concurrency", "1", "--timeout", "5")
    stopped = check(user, server, *slow, exit_code=1)
    assert "the time was up before all questions were answered" in stopped.stderr
    assert "10 of 120 answers are there and kept" in " ".join(stopped.stderr.split())
    assert "of the expert's 10 so far" in " ".join(stopped.stderr.split())
    assert not stopped.stdout
    before = set(server.asked[:10])
    server.healed.set()
    server.asked.clear()
    finished = check(user, server)
    assert "going on with 10 answers" in finished.stderr
    assert not before & set(server.asked)
    assert len(server.asked) == 110
    assert not list((home / "data" / "checks").iterdir()), "all were there, and are forgotten"


def test_a_sample_in_between_loses_nothing_of_what_was_answered(
    user: User, packed: Callable[..., Path], serve: Callable[..., Server]
) -> None:
    server = serve(packed(benchmark_score=0.5), 20, fails_after=30)
    check(user, server, "--concurrency", "1", "--timeout", "10", exit_code=1)
    server.healed.set()
    check(user, server, "--limit", "4", "--expert-only")
    server.asked.clear()
    check(user, server)
    assert len(server.asked) <= 90


def test_afresh_asks_again(
    user: User, packed: Callable[..., Path], serve: Callable[..., Server]
) -> None:
    server = serve(packed(benchmark_score=0.5), 20, fails_after=10)
    check(user, server, "--concurrency", "1", "--timeout", "5", exit_code=1)
    server.healed.set()
    server.asked.clear()
    check(user, server, "--afresh")
    assert len(server.asked) == 120


def test_a_server_that_falls_away_is_no_wrong_answer(
    user: User, packed: Callable[..., Path], serve: Callable[..., Server]
) -> None:
    server = serve(packed(benchmark_score=0.5), 20, fails_after=30, status=503)
    stopped = check(user, server, "--concurrency", "4", exit_code=1)
    assert "a question could not be asked" in stopped.stderr
    assert "30 of 120 answers" in " ".join(stopped.stderr.split())
    shown = CliRunner().invoke(main, ["list", "--experts-dir", str(user.directory), "--json"])
    assert "check" not in json.loads(shown.stdout)[0]
    server.healed.set()
    assert json.loads(check(user, server, "--json").stdout)["reproduced"] is True


def test_the_key_for_the_server_is_sent_with_the_questions(
    user: User, packed: Callable[..., Path], serve: Callable[..., Server]
) -> None:
    server = serve(packed(benchmark_score=0.5), 20)
    check(user, server, "--api-key", "secret")
    assert server.keys == {"Bearer secret"}


def test_of_several_bases_the_one_that_is_served_is_checked(
    user: User, packed: Callable[..., Path], serve: Callable[..., Server], tmp_path: Path
) -> None:
    made = packed(benchmark_score=0.5)
    base = {**samples.manifest_document()["base_models"][0], "name": "zed/zzz"}
    other = samples.package(tmp_path / "other", samples.key("Ann"), base_models=[base])
    other.rename(user.directory / other.name)
    assert json.loads(check(user, serve(made, 20), "--json").stdout)["reproduced"] is True


def install(user: User, *words: object, exit_code: int) -> Result:
    line = ["install", *map(str, words), "--experts-dir", str(user.directory)]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == exit_code, result.output
    return result


def test_install_and_check_tells_of_each_and_keeps_what_is_installed(
    user: User, tmp_path: Path
) -> None:
    made = samples.package(tmp_path, samples.key("Ann"))
    result = install(user, made, "--check", "--json", exit_code=1)
    document = json.loads(result.stdout)
    assert [step["action"] for step in document["steps"]] == ["install"]
    (checked,) = document["checks"]
    assert checked["model"] == "expert-sample@0.1.0"
    assert checked["reproduced"] is None
    assert checked["problems"]
    assert user.installed() == {"expert-sample": "0.1.0"}


def test_install_and_check_go_with_no_dry_run(user: User, tmp_path: Path) -> None:
    made = samples.package(tmp_path, samples.key("Ann"))
    install(user, made, "--check", "--dry-run", exit_code=2)
    install(user, made, "--check-limit", 3, exit_code=2)
    assert user.installed() == {}
