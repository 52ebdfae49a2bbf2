"""A request is followed by its id, and measured from its first byte."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from hive_expert.serving.guard import Door, Guard
from hive_expert.serving.measured import MeasuringClient
from hive_expert.serving.observation import CURRENT, Observation
from hive_expert.serving.routes import Access, RouteTable
from hive_expert.serving.telemetry import Telemetry


class Recording(Telemetry):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__(CollectorRegistry())
        self.seen: list[Observation] = []

    def record(self, seen: Observation) -> None:
        super().record(seen)
        self.seen.append(seen)


@pytest.fixture
def telemetry() -> Recording:
    return Recording()


@pytest.fixture
def client(telemetry: Recording) -> TestClient:
    app = FastAPI()

    @app.post("/v1/ask")
    async def ask(request: Request) -> str | None:
        seen = CURRENT.get()
        assert seen is not None
        seen.expert = "expert-sql"
        return request.headers["x-request-id"]

    @app.post("/v1/fail")
    async def fail() -> None:
        raise RuntimeError("a fault of ours")

    app.add_middleware(Guard)
    routes = {("POST", path): Access.INFERENCE for path in ("/v1/ask", "/v1/fail")}
    app.state.hive_door = Door(table=RouteTable(routes), telemetry=telemetry)
    return TestClient(app, "http://localhost", raise_server_exceptions=False)


def test_a_client_s_id_is_kept(client: TestClient, telemetry: Recording) -> None:
    answer = client.post("/v1/ask", headers={"x-request-id": "order-66"})
    assert (answer.json(), answer.headers["x-request-id"]) == ("order-66", "order-66")
    (seen,) = telemetry.seen
    assert (seen.request_id, seen.status, seen.expert) == ("order-66", 200, "expert-sql")
    assert seen.asks_model
    assert seen.ended is not None


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, 'quote"', "a\tb"])
def test_one_that_is_no_plain_word_is_replaced(client: TestClient, given: str) -> None:
    answer = client.post("/v1/ask", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == answer.json() != given
    assert len(answer.json()) == 32


def test_two_requests_without_one_get_different_ids(client: TestClient) -> None:
    assert client.post("/v1/ask").json() != client.post("/v1/ask").json()


def test_a_refusal_has_an_id_and_a_reason(client: TestClient, telemetry: Recording) -> None:
    answer = client.get("/nowhere", headers={"x-request-id": "lost"})
    assert answer.headers["x-request-id"] == "lost"
    assert telemetry.seen[0].refused == "route"


def test_a_request_that_fails_is_recorded(client: TestClient, telemetry: Recording) -> None:
    client.post("/v1/fail")
    assert len(telemetry.seen) == 1


class Engine:
    """Yields what it is given, as vLLM's engine client does."""

    model_config = "kept"

    def __init__(self, *outputs: Any) -> None:
        self.outputs = outputs
        self.closed = False

    async def generate(self, *arguments: Any, **options: Any) -> Any:
        try:
            for output in self.outputs:
                yield output
        finally:
            self.closed = True


def output(*choices: int, latency: float = 0.0) -> Any:
    """One output of the engine, of so many new tokens for each choice."""
    return SimpleNamespace(
        outputs=[SimpleNamespace(token_ids=[0] * count) for count in choices],
        prompt_token_ids=[1, 2, 3],
        num_cached_tokens=2,
        metrics=SimpleNamespace(first_token_latency=latency),
    )


@pytest.fixture
def seen() -> Any:
    token = CURRENT.set(Observation("id", "POST", "/v1/completions"))
    yield CURRENT.get()
    CURRENT.reset(token)


async def test_tokens_of_all_choices_count(seen: Observation) -> None:
    client = MeasuringClient(Engine(output(0, latency=5), output(2, 1, latency=0.25), output(3)))
    passed = [o async for o in client.generate("prompt")]
    assert len(passed) == 3
    assert (seen.prompt_tokens, seen.cached_tokens, seen.completion_tokens) == (3, 2, 6)
    assert seen.first_token_s is not None
    assert 0.25 < seen.first_token_s < 1


async def test_an_abandoned_answer_reaches_the_engine(seen: Observation) -> None:
    engine = Engine(output(1), output(1))
    outputs = MeasuringClient(engine).generate("prompt")
    await anext(outputs)
    await outputs.aclose()
    assert engine.closed
    assert seen.completion_tokens == 1


async def test_what_nobody_asked_for_is_not_measured() -> None:
    engine = Engine(output(1))
    assert [o async for o in MeasuringClient(engine).generate("warm up")] == list(engine.outputs)
    assert MeasuringClient(engine).model_config == "kept"
