"""A server with keys and a supervisor: who gets in, how it reloads, survives and ends.

One server for all of it, in the order of its life: the last tests kill its engine and stop it.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from hive_expert.serving.local_server import LocalServer, local_server
from tests.e2e.browser import browser

pytestmark = pytest.mark.e2e

ALICE = "alice-key-0123456789"
BOB = "bob-key-0123456789ab"
BOB_NEW = "bob-key-of-the-new-year"
CAROL = "carol-key-0123456789"
ADMIN = "admin-key-0123456789"
MESSAGES = [
    {"role": "system", "content": "Dialect: sql\nSchema:\nusers(id, name, age)"},
    {"role": "user", "content": "Find all users older than 25."},
]
# Long enough that the cache holds whole blocks of it.
SECRET = [{"role": "user", "content": "The password of the vault is swordfish. " * 60}]


@dataclass(frozen=True)
class Guarded:
    """The server and the files with its keys and agents."""

    server: LocalServer
    keys: Path
    agents: Path

    def ask(self, key: str | None, **body: object) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        request = {"model": "expert-sql", "messages": MESSAGES, "max_tokens": 4, "temperature": 0}
        return httpx.post(
            f"{self.server.api}/chat/completions",
            json=request | body,
            headers=headers,
            timeout=120,
        )

    def get(self, path: str, key: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.get(f"{self.server.url}{path}", headers=headers, timeout=30)

    @property
    def log(self) -> str:
        assert self.server.log is not None
        return self.server.log.read_text(errors="replace")


@pytest.fixture(scope="module")
def traces() -> Iterator[tuple[str, list[bytes]]]:
    """The address of an OpenTelemetry collector, and what it has been sent."""
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server calls
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
    server.shutdown()


@pytest.fixture(scope="module")
def guarded(
    base_model: Path,
    publisher: Path,
    traces: tuple[str, list[bytes]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    keys, admin = folder / "keys", folder / "admin"
    keys.write_text(f"# tenants\nalice {ALICE}\nbob {BOB}\ncarol {CAROL}\n")
    agents = folder / "agents.toml"
    agents.write_text('[agents.carol]\nexperts = ["expert-j*"]\ntokens = 40\n')
    admin.write_text(f"{ADMIN}\n")
    for path in (keys, admin):
        path.chmod(0o600)
    options = (
        "--base", str(base_model), "--dtype", "float32", "--supervise", "--log-format", "json",
        "--api-key-file", str(keys), "--admin-key-file", str(admin),
        "--max-num-seqs", "2", "--max-waiting", "2", "--max-per-key", "3",
        "--otlp-traces-endpoint", traces[0],
        "--agents", str(agents), "--jobs-dir", str(folder / "jobs"),
        "--max-body-mib", "1", "--max-prompt-tokens", "1000", "--max-logprobs", "2",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
        with local_server(
            publisher / "dir", *options, home=publisher, log=folder / "serve.log", jobs=True
        ) as running:
            yield Guarded(running, keys, agents)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/experts", "/metrics"])
def test_nothing_is_shown_without_a_key(guarded: Guarded, path: str) -> None:
    assert guarded.get(path).status_code == 401
    assert guarded.get(path, "wrong-key-0123456789").status_code == 401
    assert guarded.get(path, ALICE).status_code == 200


def test_health_is_public(guarded: Guarded) -> None:
    assert guarded.get("/health").status_code == 200


@pytest.mark.browser
def test_the_page_asks_for_a_key_and_lets_administrators_act(
    guarded: Guarded, tmp_path: Path
) -> None:
    with browser(tmp_path) as page:
        page.open(guarded.server.url)
        page.wait("document.getElementById('status').textContent.includes('see Keys')")
        assert page.text("#expert-list") == ""
        for field, key, actions in (("#api-key", ALICE, False), ("#admin-key", ADMIN, True)):
            page.click("#keys summary")
            page.fill(field, key)
            page.click("#key-form button")
            page.wait("document.querySelectorAll('#expert-list h3').length > 3")
            page.wait(
                f"(document.querySelectorAll('.actions').length > 0) === {str(actions).lower()}"
            )
        assert page.evaluate("document.cookie + JSON.stringify(localStorage)") == "{}"


def test_only_admins_change_what_is_served(guarded: Guarded) -> None:
    url = f"{guarded.server.api}/experts/rescan"
    for key, status in ((None, 401), (ALICE, 403), (ADMIN, 200)):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        assert httpx.post(url, headers=headers, timeout=60).status_code == status


def test_only_tenants_are_answered(guarded: Guarded) -> None:
    assert guarded.ask(None).status_code == 401
    assert guarded.ask(ALICE[:-1]).status_code == 401
    for key in (ALICE, BOB, ADMIN):
        assert guarded.ask(key).status_code == 200


def test_an_agent_has_its_experts_and_its_tokens(guarded: Guarded) -> None:
    for model in ("expert-sql", "smollm2-135m"):
        refused = guarded.ask(CAROL, model=model)
        assert refused.status_code == 403, refused.text
        assert "this key may not ask" in refused.json()["error"]["message"]
    answers = [guarded.ask(CAROL, model="expert-json") for _ in range(4)]
    assert answers[0].status_code == 200
    assert answers[-1].status_code == 429
    assert answers[-1].json()["error"]["type"] == "insufficient_quota"


def test_agents_are_read_anew_on_sighup(guarded: Guarded) -> None:
    guarded.agents.write_text('[agents.carol]\nexperts = ["base"]\ntokens = 100_000\n')
    guarded.server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: guarded.ask(CAROL, model="expert-json").status_code == 403)
    assert guarded.ask(CAROL, model="smollm2-135m").status_code == 200
    routed = guarded.ask(CAROL, model="auto")
    assert (routed.status_code, routed.headers["x-hive-experts"]) == (200, "")
    guarded.agents.write_text("[agents.carol]\nwieght = 1\n")
    guarded.server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "did you mean weight" in guarded.log)
    assert guarded.ask(CAROL, model="expert-json").status_code == 403
    # The supervisor's next server could not start with it.
    guarded.agents.write_text("")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"n": 17}, "n: 17"),
        ({"logprobs": True, "top_logprobs": 3}, "top_logprobs: 3"),
        ({"stop": "x" * 257}, "stop: longer"),
        ({"use_beam_search": True}, "beam search"),
        ({"messages": [{"role": "user", "content": "word " * 1500}]}, "at most 1000"),
    ],
)
def test_a_request_past_a_limit_is_refused(
    guarded: Guarded, body: dict[str, object], says: str
) -> None:
    refused = guarded.ask(ALICE, **body)
    assert refused.status_code == 400
    assert says in refused.json()["error"]["message"]


def test_a_body_past_the_limit_is_refused(guarded: Guarded) -> None:
    refused = guarded.ask(ALICE, messages=[{"role": "user", "content": "x" * 2**20}])
    assert refused.status_code == 413


def cached_tokens(guarded: Guarded) -> float:
    lines = guarded.get("/metrics", ADMIN).text.splitlines()
    hits = [line for line in lines if line.startswith("vllm:prefix_cache_hits_total{")]
    assert hits
    return sum(float(line.rsplit(" ", 1)[1]) for line in hits)


def test_one_tenant_is_not_told_whose_tables_another_has_asked_about(guarded: Guarded) -> None:
    tables = "Dialect: sql\nSchema:\nbarrels(id, cellar, litres)"
    messages = [
        {"role": "system", "content": tables},
        {"role": "user", "content": "Show all barrels."},
    ]
    answers = [
        guarded.ask(key, model="expert-sql", messages=messages) for key in (ALICE, ALICE, BOB, BOB)
    ]
    told = [answer.headers["x-hive-grammar"].rpartition("; ")[2] for answer in answers]
    assert [note.split(" in ")[0] for note in told] == ["compiled", "known"] * 2
    contents = {answer.json()["choices"][0]["message"]["content"] for answer in answers}
    assert len(contents) == 1


def test_one_tenant_does_not_hit_what_another_has_asked(guarded: Guarded) -> None:
    def hits(key: str, **body: object) -> float:
        before = cached_tokens(guarded)
        answer = guarded.ask(key, messages=SECRET, model="smollm2-135m", **body)
        assert answer.status_code == 200, answer.text
        return cached_tokens(guarded) - before

    assert hits(ALICE) == 0
    assert hits(ALICE) > 0
    assert hits(BOB) == 0
    assert hits(ALICE, cache_salt="a user of mine") == 0


async def test_more_than_there_is_room_for_is_turned_away(guarded: Guarded) -> None:
    """Two run and two wait, three of them of one key."""
    messages = [{"role": "user", "content": "hello"}]
    body = {"model": "smollm2-135m", "messages": messages, "max_tokens": 1500, "ignore_eos": True}

    async with httpx.AsyncClient(timeout=60) as client:

        async def ask(key: str) -> httpx.Response:
            headers = {"authorization": f"Bearer {key}"}
            return await client.post(
                f"{guarded.server.api}/chat/completions", json=body, headers=headers
            )

        inside = [asyncio.create_task(ask(ALICE)) for _ in range(3)]
        await asyncio.sleep(0.5)
        refused = await ask(ALICE)
        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "RateLimitError")
        assert int(refused.headers["retry-after"]) >= 1
        inside.append(asyncio.create_task(ask(BOB)))
        await asyncio.sleep(0.5)
        refused = await ask(ADMIN)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert not [task for task in inside if task.done()]
        for task in inside:
            task.cancel()
    wait_until(lambda: guarded.ask(ADMIN).status_code == 200)


def test_traces_continue_those_of_the_client(
    guarded: Guarded, traces: tuple[str, list[bytes]]
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = httpx.post(
        f"{guarded.server.api}/chat/completions",
        json={"model": "expert-sql", "messages": MESSAGES, "max_tokens": 2},
        headers={
            "authorization": f"Bearer {ALICE}",
            "traceparent": f"00-{trace}-b7ad6b7169203331-01",
        },
        timeout=120,
    )
    assert answer.status_code == 200
    wait_until(lambda: any(bytes.fromhex(trace) in sent for sent in traces[1]))


def test_keys_are_read_anew_on_sighup(guarded: Guarded) -> None:
    guarded.keys.write_text(f"alice {ALICE}\nbob {BOB}\nbob {BOB_NEW}\n")
    guarded.server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: guarded.get("/v1/models", BOB_NEW).status_code == 200)
    assert guarded.get("/v1/models", BOB).status_code == 200
    guarded.keys.write_text("nonsense\n")
    guarded.server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "not reloaded, the old ones stay" in guarded.log)
    assert guarded.get("/v1/models", BOB_NEW).status_code == 200
    guarded.keys.write_text(f"alice {ALICE}\nbob {BOB_NEW}\n")
    guarded.server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: guarded.get("/v1/models", BOB).status_code == 401)


def test_a_dead_engine_is_reported_and_comes_back_with_its_experts(guarded: Guarded) -> None:
    assert guarded.ask(ALICE).headers["x-hive-experts"].startswith("expert-sql@")
    pinned = httpx.post(
        f"{guarded.server.api}/experts/expert-sql/pin", headers={"authorization": f"Bearer {ADMIN}"}
    )
    assert pinned.status_code == 200
    # What is loaded is noted twice a second.
    time.sleep(1)
    batch = batch_of(guarded, 30)
    with ThreadPoolExecutor() as pool:
        inside = pool.submit(status_of_a_long_answer, guarded)
        time.sleep(1)
        subprocess.run(["kill", "-9", str(engine_of(guarded.server.process.pid))], check=True)
        # Whoever was being answered is told, and does not hang.
        assert inside.result(timeout=60) in (500, 503, None)
    wait_until(lambda: "hive-serve ended with status" in guarded.log, 60, lambda: guarded.log)
    assert "hive-serve ended with status 1: starting again" in guarded.log, guarded.log[-8000:]
    assert "was killed (SIGKILL)" in guarded.log, guarded.log[-8000:]
    wait_until(lambda: healthy(guarded), seconds=120)
    listed = guarded.get("/v1/experts/expert-sql", ALICE).json()
    assert (listed["residency"], listed["pinned"]) == ("slot", True)
    assert guarded.ask(ALICE).headers["x-hive-residency"] == "hit"
    wait_until(lambda: state_of(guarded, batch)["status"] == "completed", seconds=120)
    counts = {"total": 30, "completed": 30, "failed": 0}
    assert state_of(guarded, batch)["request_counts"] == counts
    # The keys of the last reload are those of the new server.
    assert guarded.ask(BOB).status_code == 401


def test_sigterm_lets_an_answer_finish_and_ends_well(guarded: Guarded) -> None:
    """Beside a batch, which keeps it from neither."""
    batch = batch_of(guarded, 500)
    wait_until(lambda: state_of(guarded, batch)["status"] == "in_progress", seconds=120)
    body = {"model": "smollm2-135m", "stream": True, "max_tokens": 150, "ignore_eos": True}
    request = body | {"messages": [{"role": "user", "content": "Tell me of the sea."}]}
    with httpx.stream(
        "POST",
        f"{guarded.server.api}/chat/completions",
        json=request,
        headers={"authorization": f"Bearer {ALICE}"},
        timeout=120,
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        guarded.server.process.terminate()
        rest = [line for line in lines if line.startswith("data: ")]
    assert rest[-1] == "data: [DONE]"
    assert len(rest) > 100
    assert guarded.server.process.wait(60) == 0
    assert re.search("stopping when [12] requests are answered", guarded.log)
    assert "Traceback" not in guarded.log[guarded.log.rindex("stopping when") :]


def test_the_log_is_json_and_has_a_line_for_each_answer(guarded: Guarded) -> None:
    lines = [line for line in guarded.log.splitlines() if line.startswith("{")]
    told = [json.loads(line) for line in lines]
    answers = [line for line in told if line.get("completion_tokens")]
    assert {line["tenant"] for line in answers} >= {"alice", "bob"}
    assert all(line["request_id"] and line["first_token_seconds"] for line in answers)
    assert any(line.get("refused") == "tenant" for line in told)
    assert "swordfish" not in guarded.log


def test_no_key_is_in_the_log(guarded: Guarded) -> None:
    assert not [key for key in (ALICE, BOB, BOB_NEW, ADMIN) if key in guarded.log]


def batch_of(guarded: Guarded, count: int) -> str:
    """A new batch of so many requests; its id."""
    body = {"model": "expert-sql", "messages": MESSAGES, "max_tokens": 20, "ignore_eos": True}
    request = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    lines = "".join(json.dumps({"custom_id": f"r{n}", **request}) + "\n" for n in range(count))
    headers = {"authorization": f"Bearer {ALICE}"}
    with httpx.Client(base_url=guarded.server.api, headers=headers, timeout=60) as client:
        form = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", lines)}}
        file = client.post("/files", **form).json()  # type: ignore[arg-type]  # as httpx takes it
        order = {"input_file_id": file["id"], "endpoint": request["url"]}
        made = client.post("/batches", json={**order, "completion_window": "1h"})
    assert made.status_code == 200, made.text
    batch_id: str = made.json()["id"]
    return batch_id


def state_of(guarded: Guarded, batch_id: str) -> dict[str, object]:
    batch: dict[str, object] = guarded.get(f"/v1/batches/{batch_id}", ALICE).json()
    return batch


def status_of_a_long_answer(guarded: Guarded) -> int | None:
    """None: the connection was closed instead of an answer."""
    messages = [{"role": "user", "content": "hello"}]
    body = {"model": "smollm2-135m", "messages": messages, "max_tokens": 1500, "ignore_eos": True}
    try:
        return guarded.ask(ALICE, **body).status_code
    except httpx.TransportError:
        return None


def healthy(guarded: Guarded) -> bool:
    try:
        return guarded.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(
    condition: Callable[[], bool], seconds: float = 30, log: Callable[[], str] = str
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log()[-8000:]
        time.sleep(0.2)


def engine_of(supervisor: int) -> int:
    """The process id of vLLM's engine below a supervisor."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    rows = [line.split(None, 2) for line in listed]
    # The server, and what would end its group if it were killed.
    children = {int(pid) for pid, parent, _ in rows if int(parent) == supervisor}
    engines = [int(p) for p, parent, what in rows if int(parent) in children and "Engine" in what]
    assert len(engines) == 1, rows
    return engines[0]
