"""The same tests on one process and on two replicas; then what becomes of a replica that is killed.

Both serve the same experts in fp32, so that greedy answers must be the same to the letter.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hive_expert.serving.local_server import LocalServer, free_port, local_server
from tests.e2e.conftest import Server
from tests.e2e.test_serving import BASE, JSON_MESSAGES, MESSAGES, SQL_MESSAGES

pytestmark = pytest.mark.e2e

KEY = "alice-key-0123456789"
CAROL = "carol-key-0123456789"
AUTHORIZATION = {"authorization": f"Bearer {KEY}"}
BUDGET = 300
"""Of carol's tokens."""
TOKENS = 12
"""Of greedy answers: the last bits differ between one thread and two, so two tokens of nearly the
same probability may change places where an answer is long."""
LIMIT_S = 300.0
"""For anything that is waited for: an engine may start meanwhile."""


@dataclass(frozen=True)
class Served:
    """A server, whichever way it runs. One that asks for no key takes any."""

    url: str

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=KEY, max_retries=0)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers=AUTHORIZATION | headers, timeout=60)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        headers = AUTHORIZATION | headers
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=LIMIT_S)

    def text(self, model: str, **options: Any) -> str:
        """A greedy answer."""
        messages = options.pop("messages", None) or MESSAGES[model]
        answer = self.client.chat.completions.create(
            model=model, messages=messages, temperature=0, max_tokens=TOKENS, **options
        )
        return answer.choices[0].message.content or ""


@pytest.fixture(scope="module")
def replicas(
    base_model: Path, publisher: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("replicas")
    keys = folder / "keys"
    keys.write_text(f"alice {KEY}\ncarol {CAROL}\n")
    keys.chmod(0o600)
    agents = folder / "agents.toml"
    agents.write_text(f"[agents.carol]\ntokens = {BUDGET}\nperiod = 'month'\n")
    options = ("--base", str(base_model), "--dtype", "float32", "--max-slots", "2")
    options += ("--replicas", "2", "--replica-cpus", "1", "--max-num-seqs", "8")
    options += ("--api-key-file", str(keys), "--drain-seconds", "240")
    options += ("--agents", str(agents), "--jobs-dir", str(folder / "jobs"))
    with local_server(
        publisher / "dir",
        *options,
        home=publisher,
        log=folder / "serve.log",
        start_limit_s=600,
        jobs=True,
    ) as running:
        yield running


@pytest.fixture(params=["one process", "two replicas"])
def served(request: pytest.FixtureRequest) -> Served:
    if request.param == "one process":
        return Served(request.getfixturevalue("server").url)
    return Served(request.getfixturevalue("replicas").url)


@pytest.mark.parametrize("model", list(MESSAGES))
def test_the_answer_is_that_of_one_process(served: Served, server: Server, model: str) -> None:
    assert served.text(model) == Served(server.url).text(model) != ""


def test_a_stream_gives_the_same_answer(served: Served) -> None:
    stream = served.client.chat.completions.create(
        model="expert-sql",
        messages=SQL_MESSAGES,  # type: ignore[arg-type]  # plain objects
        temperature=0,
        max_tokens=TOKENS,
        stream=True,
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert len(pieces) > 3
    assert "".join(pieces) == served.text("expert-sql")


def test_the_server_chooses(served: Served) -> None:
    body = {"model": "auto", "messages": SQL_MESSAGES, "max_tokens": 4}
    answer = served.post("/v1/chat/completions", body)
    assert answer.headers["x-hive-experts"].startswith("expert-sql@")
    assert answer.headers["x-hive-route"].startswith("score=")


def test_an_unknown_model_is_404_with_the_nearest_name(served: Served) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        served.text("expert-sqll", messages=SQL_MESSAGES)
    assert "expert-sql" in caught.value.message
    assert caught.value.param == "model"


def test_headers_say_who_answered(served: Served) -> None:
    body = {"model": "expert-json", "messages": JSON_MESSAGES, "max_tokens": 2}
    sent = {"x-hive-debug": "1", "x-request-id": "mine-0123"}
    headers = served.post("/v1/chat/completions", body, **sent).headers
    assert headers["x-hive-experts"].startswith("expert-json@")
    assert headers["x-hive-residency"].startswith(("hit", "cpu", "disk"))
    assert "max_tokens=2 (request)" in headers["x-hive-decoding"]
    assert headers["x-request-id"] == "mine-0123"
    assert served.text("expert-json")
    again = served.post("/v1/chat/completions", body).headers
    assert again["x-hive-residency"] == "hit"


def test_two_experts_answer_together(served: Served) -> None:
    model = "expert-sql:0.7+expert-json:0.3"
    body = {"model": model, "messages": SQL_MESSAGES, "max_tokens": 2}
    answer = served.post("/v1/chat/completions", body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-hive-experts"].count("expert-") == 2


def test_models_and_experts_are_listed(served: Served) -> None:
    names = {model.id for model in served.client.models.list()}
    assert {BASE, "auto", "expert-sql", "expert-json"} <= names
    served.text("expert-sql")
    listed = served.get("/v1/experts").json()["data"]
    (sql,) = [entry for entry in listed if entry["id"] == "expert-sql"]
    assert (sql["state"], sql["residency"]) == ("available", "slot")
    assert sql["requests"] >= 1
    assert served.get("/v1/experts/expert-sql").json()["digest"] == sql["digest"]
    assert served.get("/v1/experts/expert-sqll").status_code == 404


def test_metrics_count_requests(served: Served) -> None:
    before = sum(requests(served, "expert-sql").values())
    served.text("expert-sql")
    assert sum(requests(served, "expert-sql").values()) == before + 1


def requests(served: Served, expert: str) -> dict[str, float]:
    """How many each replica has answered for an expert."""
    return {
        sample.labels.get("replica", ""): sample.value
        for family in text_string_to_metric_families(served.get("/metrics").text)
        for sample in family.samples
        if sample.name == "hive_requests_total"
        and (sample.labels["expert"], sample.labels["code"]) == (expert, "200")
    }


def test_a_client_that_leaves_is_not_worked_for(served: Served) -> None:
    messages = [{"role": "user", "content": "Tell me of the sea."}]
    body = {"model": BASE, "messages": messages, "max_tokens": 1500, "ignore_eos": True}
    url = f"{served.url}/v1/chat/completions"
    wait_until(lambda: in_engines(served) == 0, "others are still answered")
    with httpx.stream(
        "POST", url, json=body | {"stream": True}, headers=AUTHORIZATION, timeout=LIMIT_S
    ) as answer:
        lines = answer.iter_lines()  # one that nobody keeps would close the connection
        next(lines)
        wait_until(lambda: in_engines(served) == 1, "the stream is nowhere", seconds=20)
    # All of the answer would take a minute, and more.
    wait_until(lambda: in_engines(served) == 0, "it is still answered", seconds=20)


def in_engines(served: Served) -> float:
    """Requests in the batches of all engines."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(served.get("/metrics").text)
        for sample in family.samples
        if sample.name == "vllm:num_requests_running"
    )


@pytest.mark.parametrize("key", [None, "bob-key-0123456789"])
def test_replicas_ask_for_a_key(replicas: LocalServer, key: str | None) -> None:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    body = {"model": "expert-sql", "messages": SQL_MESSAGES}
    url = f"{replicas.api}/chat/completions"
    answer = httpx.post(url, json=body, headers=headers, timeout=60)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "AuthenticationError"


def test_an_expert_has_its_replica(replicas: LocalServer) -> None:
    served = Served(replicas.url)
    served.text("expert-json")
    before = requests(served, "expert-json")
    for _ in range(6):
        served.text("expert-json")
    after = requests(served, "expert-json")
    more = {name: count - before.get(name, 0) for name, count in after.items()}
    assert sorted(more.values())[-1] == sum(more.values()) == 6


def test_nothing_listens_beyond_the_loopback(replicas: LocalServer) -> None:
    """Whoever reaches Ray's ports, or those of an engine, could do more than ask."""
    served = psutil.Process(replicas.process.pid)
    listening = {
        f"{process.name()} on {connection.laddr.ip}"
        for process in (served, *served.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert any("ServeReplica" in each for each in listening)
    assert {each for each in listening if not each.endswith("127.0.0.1")} == set()


@pytest.mark.parametrize("path", ["/-/routes", "/-/healthz"])
def test_the_proxy_tells_nobody_about_itself(replicas: LocalServer, path: str) -> None:
    answer = httpx.get(f"{replicas.url}{path}", timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 404)


def wait_until(there: Callable[[], bool], what: str, seconds: float = LIMIT_S) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@dataclass
class Clients:
    """Clients that ask one after another until they are told to stop: half of them streams."""

    url: str
    count: int = 6
    wholes: int = 0
    streams: int = 0
    broken: int = 0
    """Streams that had begun when they ended with an error, and said so."""
    wrong: list[str] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self, meanwhile: Callable[[], None]) -> None:
        threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(self.count)]
        for thread in threads:
            thread.start()
        try:
            meanwhile()
        finally:
            self.done.set()
            for thread in threads:
                thread.join()

    def answered(self) -> int:
        return self.wholes + self.streams

    def _ask(self, number: int) -> None:
        model = list(MESSAGES)[number % len(MESSAGES)]
        body = {"model": model, "messages": MESSAGES[model], "max_tokens": 16}
        with httpx.Client(headers=AUTHORIZATION, timeout=LIMIT_S) as client:
            while not self.done.is_set():
                try:
                    if number % 2:
                        self._stream(client, body | {"stream": True})
                    else:
                        self._whole(client, body)
                except httpx.HTTPError as error:
                    self.wrong.append(f"{model}: {error!r}")

    def _whole(self, client: httpx.Client, body: dict[str, Any]) -> None:
        answer = client.post(f"{self.url}/v1/chat/completions", json=body)
        self.wholes += 1
        if answer.status_code != 200:
            self.wrong.append(f"{answer.status_code}: {answer.text[:300]}")

    def _stream(self, client: httpx.Client, body: dict[str, Any]) -> None:
        url = f"{self.url}/v1/chat/completions"
        with client.stream("POST", url, json=body) as answer:
            events = [line for line in answer.iter_lines() if line]
        self.streams += 1
        errors = [event for event in events if event.startswith('data: {"error"')]
        if answer.status_code != 200 or not events or events[-1] != "data: [DONE]":
            self.wrong.append(f"{answer.status_code}: {events[-1:]}")
        elif errors:
            assert json.loads(errors[0].removeprefix("data: "))["error"]["code"] == 503
            self.broken += 1


def actors(replicas: LocalServer, name: str) -> set[psutil.Process]:
    """Those of a deployment. A replica has its engine in a process of its own."""

    def title(process: psutil.Process) -> str:
        with suppress(psutil.NoSuchProcess):  # it has just ended, or is a zombie
            return " ".join(process.cmdline())
        return ""

    everyone = psutil.Process(replicas.process.pid).children(recursive=True)
    return {process for process in everyone if f"ServeReplica:{name}" in title(process)}


def test_a_killed_replica_costs_no_request_but_streams_that_had_begun(
    replicas: LocalServer,
) -> None:
    served, clients = Served(replicas.url), Clients(replicas.url)

    def kill_one() -> None:
        wait_until(lambda: clients.answered() > 20, "nobody is answered")
        next(iter(actors(replicas, "hive-engines:engine"))).kill()
        before = clients.answered()
        wait_until(lambda: clients.answered() > before + 30, "nobody is answered any more")

    clients.run(kill_one)
    assert clients.wrong == []
    # What was in its hands: it had at most half of the streams.
    assert clients.broken <= clients.count / 2
    sound = 'replica="'

    def both_are_back() -> bool:
        page = served.get("/metrics").text
        lines = [line for line in page.splitlines() if line.startswith("hive_requests_present{")]
        return len({line.partition(sound)[2].partition('"')[0] for line in lines}) == 2

    wait_until(both_are_back, "the replica is not replaced")
    assert served.text("expert-sql")


def test_a_budget_is_one_over_all_replicas(replicas: LocalServer) -> None:
    """Wholes, streams, and streams that are left before their end."""
    client = openai.OpenAI(base_url=replicas.api, api_key=CAROL, max_retries=0)
    asked: dict[str, Any] = {"messages": MESSAGES["expert-sql"], "max_tokens": 8}
    counted = 0
    with pytest.raises(openai.RateLimitError, match=f"of its {BUDGET} tokens") as refused:
        for number in range(BUDGET):
            model = list(MESSAGES)[number % len(MESSAGES)]
            if number % 3 == 0:
                answer = client.chat.completions.create(model=model, **asked)
                assert answer.usage is not None
                counted += answer.usage.total_tokens
            else:
                with client.chat.completions.create(model=model, stream=True, **asked) as stream:
                    next(iter(stream))
                    if number % 3 == 1:
                        list(stream)
    spent = re.search(r"has used (\d+)", str(refused.value))
    assert spent is not None
    assert counted < int(spent[1])
    assert Served(replicas.url).text("expert-sql")


def lines_for_batch(count: int) -> bytes:
    lines = []
    for number in range(count):
        model = list(MESSAGES)[number % len(MESSAGES)]
        body = {"model": model, "messages": MESSAGES[model], "max_tokens": 16}
        line = {"custom_id": f"n{number}", "method": "POST", "url": "/v1/chat/completions"}
        lines.append(json.dumps(line | {"body": body}).encode())
    return b"\n".join(lines) + b"\n"


def test_a_batch_goes_on_when_its_front_is_killed(replicas: LocalServer) -> None:
    client, count = Served(replicas.url).client, 60
    file = client.files.create(file=("in.jsonl", lines_for_batch(count)), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )

    def now() -> Any:
        try:
            return client.batches.retrieve(batch.id)
        except (openai.APIConnectionError, openai.InternalServerError):
            return batch  # nobody is there who could say

    wait_until(lambda: now().request_counts.completed >= 5, "nothing is answered")
    (front,) = actors(replicas, "hive:front")
    engines = actors(replicas, "hive-engines:engine")
    front.kill()
    wait_until(lambda: actors(replicas, "hive:front") - {front} != set(), "no other front")
    wait_until(lambda: now().status == "completed", "the batch does not go on")
    done = now()
    results = client.files.content(done.output_file_id).text.splitlines()
    ids = [json.loads(line)["custom_id"] for line in results]
    assert sorted(ids) == sorted(f"n{number}" for number in range(count))
    assert done.error_file_id is None
    assert actors(replicas, "hive-engines:engine") == engines


def test_all_replicas_are_replaced_behind_the_front_that_stays(replicas: LocalServer) -> None:
    clients, log = Clients(replicas.url, count=2), replicas.log
    assert log is not None
    front, engines = actors(replicas, "hive:front"), actors(replicas, "hive-engines:engine")
    assert (len(front), len(engines)) == (1, 2)

    def replace_them() -> None:
        replicas.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "all replicas are replaced" in log.read_text(), "they are not replaced")

    jobs = Served(replicas.url).client
    file = jobs.files.create(file=("in.jsonl", lines_for_batch(40)), purpose="batch")
    batch = jobs.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    clients.run(replace_them)
    wait_until(lambda: jobs.batches.retrieve(batch.id).status == "completed", "a batch is stuck")
    assert jobs.batches.retrieve(batch.id).error_file_id is None
    assert (clients.wrong, clients.broken) == ([], 0)
    assert clients.wholes and clients.streams
    assert actors(replicas, "hive:front") == front

    def others() -> bool:
        now = actors(replicas, "hive-engines:engine")
        return len(now) == 2 and not now & engines

    wait_until(others, "the old ones are still there")


def test_a_signal_during_the_start_ends_all_of_it(
    base_model: Path, publisher: Path, tmp_path: Path
) -> None:
    program, log = Path(sys.executable).parent / "hive-serve", tmp_path / "serve.log"
    options = ["--base", str(base_model), "--replicas", "1", "--replica-cpus", "1", "--no-jobs"]
    with log.open("wb") as output:
        server = psutil.Popen(
            [program, "--experts-dir", tmp_path, "--port", str(free_port()), *options],
            env=os.environ | {"HIVE_HOME": str(publisher)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: "starting the engine" in log.read_text(errors="replace"), "no start")
        children = server.children(recursive=True)
        assert any("ServeReplica" in child.name() for child in children)
        server.terminate()
        assert server.wait(60) == 128 + signal.SIGTERM, log.read_text(errors="replace")[-4000:]
        _, left = psutil.wait_procs(children, timeout=20)
    finally:
        with suppress(psutil.NoSuchProcess):
            server.kill()
    assert left == []
    assert "*** SIGTERM" not in log.read_text(errors="replace")


def test_those_who_are_there_are_answered_before_it_stops(replicas: LocalServer) -> None:
    """The last test: nobody answers any more. It is told so while it replaces its replicas."""
    url, body = (
        f"{replicas.api}/chat/completions",
        {"model": "expert-sql", "messages": SQL_MESSAGES},
    )
    asked = body | {"stream": True, "max_tokens": 40, "ignore_eos": True}
    with httpx.stream("POST", url, json=asked, headers=AUTHORIZATION, timeout=LIMIT_S) as answer:
        lines = answer.iter_lines()
        began = next(lines)
        log = replicas.log
        assert log is not None
        before = log.read_text().count("replacing replicas")
        replicas.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: log.read_text().count("replacing replicas") > before, "none is replaced")
        replicas.process.terminate()

        def turned_away() -> bool:
            return httpx.post(url, json=body, headers=AUTHORIZATION, timeout=60).status_code == 503

        wait_until(turned_away, "others are still let in")
        events = [began, *filter(None, lines)]
    assert events[-1] == "data: [DONE]"
    assert not any(event.startswith('data: {"error"') for event in events)
    assert sum("content" in event for event in events) > 30
    assert replicas.process.wait(LIMIT_S) == 0
