"""The front before replicas that are told what to answer: who gets in, who is asked, what comes
back."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from hive_expert.errors import EngineError, Problem
from hive_expert.replicas import front
from hive_expert.replicas.application import build_app
from hive_expert.replicas.relay import Answer, Head, Relayed, Spent
from hive_expert.replicas.retry import Piece
from hive_expert.serving.agents import Agent, Agents
from hive_expert.serving.auth import Keys, parse_keys
from hive_expert.serving.body import BodyLimits
from hive_expert.serving.guard import Door
from hive_expert.serving.traffic import Traffic, TrafficLimits
from tests.replicas.test_merge import ENTRY

KEY = "alice-key-0123456789"
ADMIN = "admin-key-0123456789"
JSON = ((b"content-type", b"application/json"),)
SSE = ((b"content-type", b"text/event-stream"),)

NAMES = ("expert-a", "expert-b", "base")

Give = Callable[[Relayed], list[Piece | Exception]]


class FellAwayError(Exception):
    pass


class Replicas:
    """Two replicas that answer as `give` says; what they were asked is kept."""

    lost: tuple[type[BaseException], ...] = (FellAwayError,)

    def __init__(self) -> None:
        self.give: Give = lambda _: whole({"ok": True})
        self.list_names: Give = lambda _: whole({"data": [{"id": name} for name in NAMES]})
        self.asked: list[Relayed] = []
        self.spent: list[Spent] = []
        self.up = True

    async def ask(self, request: Relayed) -> AsyncGenerator[Piece, None]:
        self.asked.append(request)
        for piece in self._pieces(request):
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def ask_all(self, request: Relayed) -> list[Answer]:
        if not self.up:
            raise EngineError(Problem("replicas", "none of them answers"))
        self.asked.append(request)
        found = []
        for replica in ("one", "two"):
            head, *body = self._pieces(request)
            assert isinstance(head, Head)
            found.append(Answer(replica, head, b"".join(b for b in body if isinstance(b, bytes))))
        return found

    async def accounts(self, front: str) -> list[list[Spent]]:
        return [self.spent, []]

    async def alive(self) -> bool:
        return self.up

    def last(self) -> Relayed:
        return self.asked[-1]

    def _pieces(self, request: Relayed) -> list[Piece | Exception]:
        if request.target == "/v1/models":
            return self.list_names(request)
        if request.target == "/v1/route":
            return whole({"model": "expert-b"})
        return self.give(request)


def whole(body: Any, status: int = 200, *headers: tuple[bytes, bytes]) -> list[Piece | Exception]:
    return [Head(status, (*JSON, *headers)), json.dumps(body).encode()]


@pytest.fixture
def replicas() -> Replicas:
    return Replicas()


@pytest.fixture
def door() -> Door:
    keys = Keys(parse_keys(f"alice {KEY}", "keys"), parse_keys(ADMIN, "admin"), local=False)
    return Door(
        keys=keys,
        traffic=Traffic(TrafficLimits(running=2, waiting=1, per_tenant=1)),
        body=BodyLimits(max_bytes=1000),
    )


@pytest.fixture
def client(door: Door, replicas: Replicas) -> TestClient:
    app = build_app(door, replicas)
    bearer = {"authorization": f"Bearer {KEY}"}
    return TestClient(app, "http://localhost", headers=bearer, raise_server_exceptions=False)


def chat(client: TestClient, model: str = "expert-a", **headers: str) -> Any:
    body = {"model": model, "messages": []}
    return client.post("/v1/chat/completions", json=body, headers=headers)


def admin(client: TestClient, path: str) -> Any:
    return client.post(path, headers={"authorization": f"Bearer {ADMIN}"})


def test_without_a_key_no_replica_is_asked(client: TestClient, replicas: Replicas) -> None:
    answer = chat(client, authorization="Bearer wrong-key-0123456789")
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "AuthenticationError"
    assert replicas.asked == []


def test_what_is_not_listed_reaches_no_replica(client: TestClient, replicas: Replicas) -> None:
    assert client.get("/v1/load_lora_adapter").status_code == 404
    assert replicas.asked == []


def test_the_request_goes_on_as_it_came(client: TestClient, replicas: Replicas) -> None:
    content = b'{ "model":"expert-a", "messages": [] }'
    client.post("/v1/chat/completions?x=%20y", content=content, headers={"x-hive-debug": "1"})
    got, headers = replicas.last(), dict(replicas.last().headers)
    assert (got.method, got.target, got.body) == ("POST", "/v1/chat/completions?x=%20y", content)
    assert headers[b"authorization"] == f"Bearer {KEY}".encode()
    assert headers[b"x-hive-debug"] == b"1"
    assert b"x-request-id" in headers and b"host" not in headers


@pytest.mark.parametrize(
    ("model", "shared"),
    [
        ("expert-a", "expert-a"),
        ("expert-a@0.2.0", "expert-a"),
        ("expert-b:0.5+expert-a", "expert-a+expert-b"),
        ("auto", "expert-b"),
        ("base", ""),
        ("expert-unheard-of", ""),
    ],
)
def test_requests_for_the_same_experts_share_a_replica(
    client: TestClient, replicas: Replicas, model: str, shared: str
) -> None:
    assert chat(client, model).status_code == 200
    assert replicas.last().experts == shared
    assert json.loads(replicas.last().body)["model"] == model


def test_headers_and_status_come_back(client: TestClient, replicas: Replicas) -> None:
    error = {"error": {"message": "did you mean expert-a?", "code": 404}}
    replicas.give = lambda _: whole(error, 404, (b"x-hive-experts", b"expert-a@0.2.0"))
    answer = chat(client)
    assert (answer.status_code, answer.json()) == (404, error)
    assert answer.headers["x-hive-experts"] == "expert-a@0.2.0"


def test_a_stream_comes_through(client: TestClient, replicas: Replicas) -> None:
    replicas.give = lambda _: [Head(200, SSE), b"data: 1\n\n", b"data: [DONE]\n\n"]
    answer = chat(client)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.text == "data: 1\n\ndata: [DONE]\n\n"


def test_a_replica_that_falls_away_is_not_the_client_s_matter(
    client: TestClient, replicas: Replicas
) -> None:
    left: list[list[Piece | Exception]] = [[FellAwayError()], whole({"by": "another"})]
    replicas.give = lambda _: left.pop(0)
    assert chat(client).json() == {"by": "another"}


def test_a_stream_that_breaks_off_says_so(client: TestClient, replicas: Replicas) -> None:
    replicas.give = lambda _: [Head(200, SSE), b"data: 1\n\n", FellAwayError()]
    events = chat(client).text.split("\n\n")
    assert events[0] == "data: 1"
    assert json.loads(events[1].removeprefix("data: "))["error"]["code"] == 503
    assert events[2] == "data: [DONE]"


def test_no_replica_at_all_is_said_in_openai_s_shape(
    client: TestClient, replicas: Replicas
) -> None:
    replicas.give = lambda _: [FellAwayError()]
    answer = chat(client)
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "ServiceUnavailableError"


def test_health_is_that_of_any_replica(client: TestClient, replicas: Replicas) -> None:
    assert client.get("/health").status_code == 200


def test_health_is_bad_where_no_replica_is_up(client: TestClient, replicas: Replicas) -> None:
    replicas.up = False
    assert client.get("/health").status_code == 503
    assert client.get("/v1/experts").status_code == 503


def test_places_are_counted_over_all_replicas(client: TestClient, door: Door) -> None:
    door.traffic.enter("alice")
    answer = chat(client)
    assert answer.status_code == 429
    door.traffic.leave("alice")
    assert chat(client).status_code == 200
    assert door.traffic.present == 0


def test_metrics_are_those_of_all_and_of_the_front(client: TestClient, replicas: Replicas) -> None:
    page = b"# HELP hive_x X.\n# TYPE hive_x counter\nhive_x 3\n"
    replicas.give = lambda _: [Head(200, ((b"content-type", b"text/plain"),)), page]
    chat(client, authorization="Bearer wrong-key-0123456789")
    lines = client.get("/metrics").text.splitlines()
    assert {'hive_x{replica="one"} 3', 'hive_x{replica="two"} 3'} <= set(lines)
    assert 'hive_refusals_total{replica="front",reason="key"} 1.0' in lines


def test_experts_are_listed_over_all_replicas(client: TestClient, replicas: Replicas) -> None:
    listed = {"object": "list", "data": [ENTRY]}
    replicas.give = lambda _: whole(listed, 200, (b"x-hive-admin", b"yes"))
    answer = client.get("/v1/experts")
    (entry,) = answer.json()["data"]
    assert entry["replicas"] == {"one": "slot", "two": "slot"}
    assert entry["requests"] == 2 * ENTRY["requests"]
    assert answer.headers["x-hive-admin"] == "yes"


def test_an_expert_that_is_unknown_is_so_on_all(client: TestClient, replicas: Replicas) -> None:
    replicas.give = lambda _: whole({"error": {"code": 404}}, 404)
    assert client.get("/v1/experts/expert-z").status_code == 404


def test_an_expert_that_one_replica_has_found_already_is_known(
    client: TestClient, replicas: Replicas
) -> None:
    found = [whole(ENTRY), whole({"error": {"code": 404}}, 404)]
    replicas.give = lambda _: found.pop()
    answer = client.get("/v1/experts/expert-sql")
    assert (answer.status_code, answer.json()["replicas"]) == (200, {"two": "slot"})
    found[:] = [whole(ENTRY | {"unloaded": True}), whole({"error": {"code": 404}}, 404)]
    assert admin(client, "/v1/experts/expert-sql/unload").json()["unloaded"] is True


@pytest.mark.parametrize("path", ["/v1/experts", "/v1/experts/expert-a", "/metrics"])
def test_a_head_alone_is_one_replica_s(client: TestClient, replicas: Replicas, path: str) -> None:
    replicas.give = lambda _: [Head(405, JSON), b""]
    answer = client.head(path)
    assert (answer.status_code, len(replicas.asked)) == (405, 1)


def test_an_answer_needs_no_affinity(client: TestClient, replicas: Replicas) -> None:
    lost = [FellAwayError()] * 3

    def give(request: Relayed) -> list[Piece | Exception]:
        return [lost.pop()] if lost else whole({"ok": True})

    replicas.list_names = give
    assert chat(client).json() == {"ok": True}
    assert (replicas.last().experts, lost) == ("", [])


def test_unloading_reaches_all_replicas(client: TestClient, replicas: Replicas) -> None:
    gone = [True, False]
    replicas.give = lambda _: whole(ENTRY | {"unloaded": gone.pop()})
    answer = admin(client, "/v1/experts/expert-sql/unload")
    assert (answer.status_code, answer.json()["unloaded"]) == (200, False)
    assert gone == []


def test_loading_reaches_the_replica_that_will_be_asked(
    client: TestClient, replicas: Replicas
) -> None:
    assert admin(client, "/v1/experts/expert-a/load").status_code == 200
    assert replicas.last().experts == "expert-a"


@pytest.mark.parametrize("action", ["pin", "unpin"])
def test_pins_are_refused_out_loud(client: TestClient, replicas: Replicas, action: str) -> None:
    answer = admin(client, f"/v1/experts/expert-a/{action}")
    assert answer.status_code == 501
    assert "--pin" in answer.json()["error"]["message"]
    assert replicas.asked == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files"),
        ("POST", "/v1/files"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/jobs/events"),
    ],
)
def test_without_jobs_their_routes_say_so(
    client: TestClient, replicas: Replicas, method: str, path: str
) -> None:
    answer = client.request(method, path, json={})
    assert answer.status_code == 503
    assert "--no-jobs" in answer.json()["error"]["message"]
    assert replicas.asked == []


def test_no_client_speaks_for_the_front(client: TestClient, replicas: Replicas) -> None:
    chat(client, **{"x-hive-front": "secret 1 batch bob"})
    got = replicas.last()
    assert (got.errand, b"x-hive-front" in dict(got.headers)) == (None, False)


@pytest.mark.parametrize("streams", [False, True])
def test_what_a_replica_counts_is_the_agent_s_budget(
    client: TestClient, replicas: Replicas, door: Door, streams: bool
) -> None:
    door.ledger.agents = Agents(named={"alice": Agent(tokens=100)})
    pieces = [Head(200, SSE), b"data: [DONE]\n\n"] if streams else whole({"ok": True})
    sums = iter((60, 120))
    replicas.give = lambda _: [*pieces, Spent("one", "alice", next(sums))]
    assert [chat(client).status_code for _ in range(2)] == [200, 200]
    refused = chat(client)
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "insufficient_quota")
    assert "120 of its 100 tokens" in refused.json()["error"]["message"]


def test_what_no_answer_told_is_asked_for(
    door: Door, replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "ACCOUNT_EVERY_S", 0.01)
    replicas.spent = [Spent("one", "alice", 7), Spent("two", "", 5)]
    with TestClient(build_app(door, replicas), "http://localhost"):
        until = time.monotonic() + 10
        while door.ledger.spent("alice") < 7 and time.monotonic() < until:
            time.sleep(0.01)
    assert (door.ledger.spent("alice"), door.ledger.spent(None)) == (7, 5)


def test_pages_of_allowed_sites_may_read_answers(door: Door, replicas: Replicas) -> None:
    site = "https://chat.example.org"
    door.origins = frozenset({site})
    with TestClient(build_app(door, replicas), "http://localhost") as client:
        asked = {"origin": site, "access-control-request-method": "POST"}
        allowed = client.options("/v1/chat/completions", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == site
        answer = client.get("/health", headers={"origin": site})
        assert answer.headers["access-control-allow-origin"] == site
