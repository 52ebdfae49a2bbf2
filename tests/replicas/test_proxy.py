"""What Ray Serve's proxy is asked, and what not."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from ray.serve._private.http_util import validate_http_proxy_callback_return
from ray.serve._private.utils import call_function_from_import_path
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hive_expert.replicas.environment import OF_OUR_OWN_CLUSTER


def behind(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


@pytest.fixture
def client() -> TestClient:
    named = OF_OUR_OWN_CLUSTER["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"]
    given = validate_http_proxy_callback_return(call_function_from_import_path(named))
    return TestClient(Starlette(routes=[Route("/{path:path}", behind)], middleware=given))


@pytest.mark.parametrize("path", ["/-/routes", "/-/healthz", "/%2d/routes"])
def test_its_own_routes_are_nobody_s(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "NotFoundError"


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/-", "/v1/-/routes"])
def test_all_else_goes_on(client: TestClient, path: str) -> None:
    assert client.get(path).text == path
