"""Whatever refuses a request, it says so in OpenAI's shape."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel
from vllm.entrypoints.serve.exception_handling.register import init_exception_handler

from hive_expert.errors import (
    BudgetError,
    BusyError,
    CatalogError,
    EngineError,
    HiveError,
    InvalidAnswerError,
    NotYetError,
    Problem,
)
from hive_expert.serving.problems import error_response, shape_framework_errors


class Asked(BaseModel):
    """A body."""

    max_tokens: int = 1


@pytest.fixture
def client() -> TestClient:
    """Of an application that handles errors as the server's does."""
    app = FastAPI()
    init_exception_handler(app)
    shape_framework_errors(app)

    @app.post("/ask")
    def ask(asked: Asked) -> int:
        return asked.max_tokens

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/ask", b'{"max_tokens": ' + b"9" * 100_000 + b"}", 400),
        ("POST", "/nowhere", b"{}", 404),
        ("GET", "/ask", b"", 405),
    ],
    ids=["a number of 100,000 digits", "no route", "no method"],
)
def test_what_the_framework_refuses(
    client: TestClient, method: str, path: str, content: bytes, status: int
) -> None:
    headers = {"content-type": "application/json"}
    answer = client.request(method, path, content=content, headers=headers)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["message"]
    assert (error["code"], set(error)) == (status, {"message", "type", "param", "code"})


def test_its_headers_stay(client: TestClient) -> None:
    assert client.get("/ask").headers["allow"] == "POST"


def test_a_sound_request_is_none_of_it(client: TestClient) -> None:
    assert client.post("/ask", json={"max_tokens": 3}).json() == 3


def test_problems_become_one_message_with_their_remedies() -> None:
    two = CatalogError(Problem("model", "no such expert", "hive list"), Problem("x", "and this"))
    answer = error_response(two)
    assert answer.status_code == 404
    assert b"no such expert (hive list); and this" in bytes(answer.body)


@pytest.mark.parametrize(
    "error", [BusyError("full"), NotYetError("is being replaced"), EngineError("busy")]
)
def test_what_may_go_better_in_a_moment_says_when(error: HiveError) -> None:
    answer = error_response(error)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "x-should-retry" not in answer.headers


def test_a_spent_budget_says_when_there_is_more() -> None:
    answer = error_response(BudgetError("spent", again_s=90))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "90")
    assert answer.headers["x-should-retry"] == "false"


def test_an_answer_that_fails_its_check_is_unprocessable() -> None:
    assert error_response(InvalidAnswerError(Problem("answer", "bad"))).status_code == 422
