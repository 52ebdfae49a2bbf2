"""Requests drawn from the server's own OpenAPI document: none may end in an error of the server's.

`HIVE_OPENAPI_EXAMPLES=200 pytest tests/e2e/test_openapi.py` draws more of each operation.
"""

from __future__ import annotations

import os
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error

from hive_expert.serving.routes import ROUTES
from tests.e2e.conftest import Server
from tests.e2e.test_serving import MESSAGES

pytestmark = pytest.mark.e2e

EXAMPLES = int(os.environ.get("HIVE_OPENAPI_EXAMPLES", "6"))
MODELS = (*MESSAGES, "auto")
TOKENS = {
    "/v1/chat/completions": ("max_tokens", "max_completion_tokens"),
    "/v1/completions": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
}


def bounded(path: str, body: Any) -> Any:
    """The same request, for few tokens, and of a model that there is if it names any."""
    if not isinstance(body, dict) or path not in TOKENS:
        return body
    body = dict(body)
    if isinstance(body.get("model"), str):
        body["model"] = MODELS[len(body["model"]) % len(MODELS)]
    for name in TOKENS[path]:
        if body.get(name) is None or (isinstance(body[name], int) and body[name] > 4):
            body[name] = 4
    return body


def test_no_request_ends_in_an_error_of_the_server_s(server: Server) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            case.body = bounded(case.operation.path, case.body)
            answer = case.call(timeout=120)
            case.validate_response(answer, checks=(not_a_server_error,))

        ask()
    assert asked > EXAMPLES * 6


def test_the_document_has_every_route_of_ours(server: Server) -> None:
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    found = {(method.upper(), path) for path, item in paths.items() for method in item}
    hidden = {("GET", "/openapi.json"), ("GET", "/metrics"), ("GET", "/"), ("GET", "/page/{name}")}
    hidden.add(("GET", "/v1/jobs/events"))  # a stream without an end
    assert set(ROUTES) - hidden <= found
