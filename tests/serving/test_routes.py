"""What the table does not list does not survive."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.routing import Mount

from hive_expert.serving.routes import keep_listed


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
