"""Nothing passes the door that the table or the keys do not let through."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, generate_latest
from starlette.websockets import WebSocketDisconnect

from hive_expert.serving.agents import Agent, Agents
from hive_expert.serving.auth import Keys, parse_keys
from hive_expert.serving.body import BodyLimits
from hive_expert.serving.guard import Door, Guard, caller_of
from hive_expert.serving.ledger import Ledger
from hive_expert.serving.routes import LOOKING_ON, Access, RouteTable
from hive_expert.serving.telemetry import Telemetry
from hive_expert.serving.traffic import Traffic, TrafficLimits

KEY = "alice-key-0123456789"
ADMIN = "admin-key-0123456789"

TABLE = RouteTable(
    {
        ("GET", "/health"): Access.PUBLIC,
        ("GET", "/v1/who"): Access.INFERENCE,
        ("POST", "/v1/ask"): Access.INFERENCE,
        **dict.fromkeys(LOOKING_ON, Access.INFERENCE),
        ("POST", "/v1/experts/{name}/load"): Access.ADMIN,
    }
)


@pytest.fixture
def door() -> Door:
    return Door(
        table=TABLE,
        traffic=Traffic(TrafficLimits(running=1, waiting=1, per_tenant=1)),
        body=BodyLimits(max_bytes=100),
    )


@pytest.fixture
def client(door: Door) -> TestClient:
    app = FastAPI()

    @app.get("/health")
    def health() -> str:
        return "up"

    @app.get("/v1/who")
    def who(request: Request) -> str | None:
        return caller_of(request.scope).tenant

    @app.post("/v1/ask")
    async def ask(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body()), "present": door.traffic.present}

    for _, path in LOOKING_ON:
        app.post(path)(ask)

    @app.post("/v1/experts/{name}/load")
    def load(name: str) -> str:
        return name

    @app.get("/secret")
    def secret() -> str:
        return "never"

    @app.websocket("/v1/who")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()

    app.add_middleware(Guard)
    keys = Keys(parse_keys(f"alice {KEY}", "keys"), parse_keys(ADMIN, "admin"), local=False)
    door.keys = keys
    app.state.hive_door = door
    return TestClient(app, "http://localhost", raise_server_exceptions=False)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_a_caller_is_known_by_his_key(client: TestClient) -> None:
    assert client.get("/v1/who", headers=bearer(KEY)).json() == "alice"
    assert client.get("/v1/who", headers={"x-api-key": KEY}).json() == "alice"
    assert client.get("/v1/who", headers={"authorization": f"bearer  {KEY} "}).json() == "alice"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong-key-0123456789"),
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong", "x-api-key": KEY},
    ],
)
def test_without_a_good_key_there_is_a_challenge(
    client: TestClient, headers: dict[str, str]
) -> None:
    answer = client.get("/v1/who", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == 401
    assert KEY not in answer.text


def test_public_routes_need_no_key(client: TestClient) -> None:
    assert client.get("/health").status_code == 200


def test_admin_routes_need_an_admin_key(client: TestClient) -> None:
    path = "/v1/experts/expert-sql/load"
    assert client.post(path).status_code == 401
    assert client.post(path, headers=bearer(KEY)).status_code == 403
    assert client.post(path, headers=bearer(ADMIN)).json() == "expert-sql"


def test_what_the_table_does_not_list_is_not_found_whatever_the_key(client: TestClient) -> None:
    for headers in ({}, bearer(ADMIN)):
        assert client.get("/secret", headers=headers).status_code == 404
    answer = client.post("/health")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json()["error"]["type"] == "MethodNotAllowedError"


def test_websockets_are_closed(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/v1/who", headers=bearer(ADMIN)),
    ):
        pass


def test_a_body_within_the_limit_reaches_the_application(client: TestClient, door: Door) -> None:
    answer = client.post("/v1/ask", headers=bearer(KEY), content=b"x" * 100)
    assert answer.json() == {"bytes": 100, "present": 1}
    assert door.traffic.present == 0


def test_a_body_over_the_limit_is_refused_and_leaves(client: TestClient, door: Door) -> None:
    for path in ("/v1/ask", "/v1/experts/a/load"):
        answer = client.post(path, headers=bearer(ADMIN), content=b"x" * 101)
        assert answer.status_code == 413
        assert answer.headers["connection"] == "close"
    assert door.traffic.present == 0


def test_who_has_no_room_is_told_when_to_come_back(client: TestClient, door: Door) -> None:
    door.traffic.enter("alice")
    answer = client.post("/v1/ask", headers=bearer(KEY))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    door.traffic.enter("bob")
    answer = client.post("/v1/ask", headers=bearer(ADMIN))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    # Looking on is always possible.
    assert client.get("/v1/who", headers=bearer(KEY)).status_code == 200
    assert client.post("/v1/experts/a/load", headers=bearer(ADMIN)).status_code == 200


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", "/v1/route"])
def test_where_nothing_is_generated_it_takes_neither_room_nor_tokens(
    client: TestClient, door: Door, path: str
) -> None:
    registry = CollectorRegistry()
    door.telemetry = Telemetry(registry)
    door.ledger = Ledger(Agents(named={"alice": Agent(tokens=10)}))
    door.ledger.add("alice", 10)
    for name in ("alice", "bob"):
        door.traffic.enter(name)
    answer = client.post(path, headers=bearer(KEY), content=b"x")
    assert answer.json() == {"bytes": 1, "present": 2}
    assert b"hive_requests_total{" not in generate_latest(registry)
    assert client.post(path, headers=bearer(KEY), content=b"x" * 101).status_code == 413
    assert client.post(path).status_code == 401


def test_nobody_without_a_key_takes_room(client: TestClient, door: Door) -> None:
    assert client.post("/v1/ask", content=b"x" * 1000).status_code == 401
    assert door.traffic.present == 0


def test_pages_of_other_sites_are_refused_where_no_key_is_needed(
    client: TestClient, door: Door
) -> None:
    page = {"origin": "https://evil.example.org"}
    assert client.get("/v1/who", headers=bearer(KEY) | page).status_code == 200
    door.keys = Keys()
    assert client.get("/v1/who").status_code == 200
    assert client.get("/v1/who", headers=page).status_code == 403
    assert client.get("/v1/who", headers={"host": "evil.example.org"}).status_code == 403


def test_pages_of_allowed_sites_see_our_headers(client: TestClient, door: Door) -> None:
    site = "https://chat.example.org"
    door.origins = frozenset({site})
    for status, key in ((200, bearer(KEY)), (401, {})):
        answer = client.get("/v1/who", headers=key | {"origin": site})
        assert answer.status_code == status
        assert "x-hive-experts" in answer.headers["access-control-expose-headers"]
    for page in ({}, {"origin": "https://evil.example.org"}):
        answer = client.get("/v1/who", headers=bearer(KEY) | page)
        assert "access-control-expose-headers" not in answer.headers


def test_no_header_makes_a_request_one_of_the_server_s_own(client: TestClient) -> None:
    for name in ("hive_errand", "hive-errand", "x-hive-errand"):
        assert client.get("/v1/who", headers={name: "alice"}).status_code == 401


def test_a_tenant_without_tokens_is_sent_away(client: TestClient, door: Door) -> None:
    door.ledger = Ledger(Agents(named={"alice": Agent(tokens=10)}))
    assert client.post("/v1/ask", json={}, headers=bearer(KEY)).status_code == 200
    door.ledger.add("alice", 10)
    answer = client.post("/v1/ask", json={}, headers=bearer(KEY))
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "insufficient_quota"
    assert 0 < int(answer.headers["retry-after"]) <= 24 * 3600
    assert answer.headers["x-should-retry"] == "false"
    assert door.traffic.present == 0
