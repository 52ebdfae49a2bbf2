"""What stands in front of Ray Serve's HTTP proxy: Ray Serve calls `middlewares` by its name.

The proxy has routes of its own below `/-/`, which it answers to everybody, past the front and its
table of routes.
"""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from hive_expert.serving.guard import error_answer

ITS_OWN = "/-/"


def middlewares() -> list[Middleware]:
    """For `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`; see `environment`."""
    return [Middleware(WithoutItsOwn)]


class WithoutItsOwn:
    """Law: no request for one of the proxy's own routes reaches it; all others do, unchanged."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(ITS_OWN):
            await error_answer(404, "NotFoundError", "Not Found")(scope, receive, send)
            return
        await self._app(scope, receive, send)
