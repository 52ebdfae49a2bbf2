"""What the table does not list does not survive, and whatever vLLM can mount is classified."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.routing import Mount, WebSocketRoute

from hive_expert.adapters.base_model import BaseModel
from hive_expert.engine import plugin
from hive_expert.engine.launch import EngineSettings, parse_arguments
from hive_expert.serving.absent_routes import ABSENT
from hive_expert.serving.guard import Guard
from hive_expert.serving.routes import LOOKING_ON, ROUTES, Access, RouteTable, Unlisted, keep_listed


def application() -> FastAPI:
    app = FastAPI()
    router = APIRouter()

    @router.get("/health")
    @router.post("/health")
    def health() -> str:
        return "up"

    @router.post("/invocations")
    def invocations() -> str:
        return "anything"

    @app.websocket("/v1/realtime")
    async def realtime(socket: WebSocket) -> None:
        await socket.accept()

    app.include_router(router)
    app.router.routes.append(Mount("/static", app=FastAPI()))
    return app


def test_only_listed_methods_of_listed_paths_stay() -> None:
    app = application()
    dropped = keep_listed(app)
    assert {"/invocations", "/v1/realtime", "/static", "/docs"} <= set(dropped)
    client = TestClient(app)
    assert client.get("/health").status_code == 200
    assert client.post("/health").status_code == 405
    for path in ("/invocations", "/static", "/docs", "/redoc"):
        assert client.post(path).status_code == 404
        assert client.get(path).status_code == 404


def test_openapi_forgets_what_was_dropped() -> None:
    app = application()
    app.openapi()
    keep_listed(app)
    assert set(TestClient(app).get("/openapi.json").json()["paths"]) == {"/health"}


@pytest.mark.parametrize(
    ("method", "path", "access"),
    [
        ("GET", "/health", Access.PUBLIC),
        ("HEAD", "/health", Access.PUBLIC),
        ("POST", "/v1/completions", Access.INFERENCE),
        ("GET", "/v1/experts/expert-sql", Access.INFERENCE),
        ("GET", "/v1/experts/expert-sql@1.0.0", Access.INFERENCE),
        ("POST", "/health", Unlisted(("GET", "HEAD"))),
        ("OPTIONS", "/v1/completions", Unlisted(("POST",))),
        ("get", "/health", Unlisted(("GET", "HEAD"))),
        ("GET", "/health/", Unlisted()),
        ("GET", "//health", Unlisted()),
        ("GET", "/v1/experts/a/b", Unlisted()),
        ("GET", "/v1/experts/", Unlisted()),
        ("GET", "/metrics/x", Unlisted()),
        ("GET", "/v1/experts\n", Unlisted()),
        ("POST", "/invocations", Unlisted()),
        ("GET", "", Unlisted()),
    ],
)
def test_only_a_whole_path_and_its_method_are_found(
    method: str, path: str, access: Access | Unlisted
) -> None:
    assert RouteTable().access(method, path) == access


def mounted(app: FastAPI) -> Iterator[tuple[str, str]]:
    """All routes of an application as (method, path template)."""
    for route in app.router.routes:
        path = route.path  # type: ignore[attr-defined]  # every kind that is mounted has one
        if isinstance(route, WebSocketRoute):
            yield "WEBSOCKET", path
        elif isinstance(route, Mount):
            yield "GET", path
        else:
            for method in route.methods - {"HEAD"}:  # type: ignore[attr-defined]  # a Route
                yield method, path


def build(monkeypatch: pytest.MonkeyPatch, **environment: str) -> FastAPI:
    """The application that vLLM builds with these variables; the engine is not needed for it."""
    from vllm.entrypoints.launchers.app import build_app

    for name in [n for n in os.environ if n.startswith("VLLM_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    args = parse_arguments(EngineSettings(BaseModel(("Tiny",), Path("/models/tiny"))))
    level = logging.root.level
    try:
        return build_app(args, ("generate", "render"), None)
    finally:
        # vLLM's SageMaker part raises it.
        logging.root.setLevel(level)


def test_all_that_vllm_can_mount_is_classified(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = build(
        monkeypatch,
        VLLM_PLUGINS="",
        VLLM_SERVER_DEV_MODE="1",
        VLLM_ALLOW_RUNTIME_LORA_UPDATING="1",
    )
    found = set(mounted(everything))
    assert len(found) > 40
    unclassified = found - set(ROUTES) - set(ABSENT)
    assert not unclassified, "say in routes.py or absent_routes.py what becomes of them"


def test_the_served_application_has_the_table_s_routes_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = build(monkeypatch, VLLM_PLUGINS=f"{plugin.NAME},{plugin.ENDPOINTS},{plugin.JOBS}")
    found = {route for route in mounted(app) if route not in ABSENT}
    assert found == set(ROUTES)
    # What is mounted after our plugin (by vLLM's SageMaker part) does not pass the guard.
    table = RouteTable()
    late = set(mounted(app)) - found
    assert all(table.access(method, path) == Unlisted() for method, path in late)
    assert any(m.cls is Guard for m in app.user_middleware)


def test_no_route_stands_in_both_tables() -> None:
    assert not set(ROUTES) & set(ABSENT)


def test_those_that_only_look_on_are_for_whoever_may_ask() -> None:
    assert {ROUTES[route] for route in LOOKING_ON} == {Access.INFERENCE}
