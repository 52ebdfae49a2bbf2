"""Every route of the server and who may use it. What is not listed here is not served.

vLLM mounts far more than a multi-tenant server should show (runtime LoRA paths,
`/invocations`, scaling, weight updates), and its `--api-key` guards only some of it.
So the table decides, and a test compares it with the running application.
"""

from __future__ import annotations

from enum import Enum

from fastapi import FastAPI
from starlette.routing import Route


class Access(Enum):
    """Who may call a route."""

    PUBLIC = "public"
    """No key: says whether the server lives, nothing about what it holds."""
    INFERENCE = "inference"
    """Whoever may ask a model."""
    ADMIN = "admin"
    """Whoever may change what the server holds."""


ROUTES: dict[tuple[str, str], Access] = {
    ("GET", "/health"): Access.PUBLIC,
    ("GET", "/version"): Access.PUBLIC,
    ("GET", "/metrics"): Access.INFERENCE,
    ("GET", "/v1/models"): Access.INFERENCE,
    ("POST", "/v1/chat/completions"): Access.INFERENCE,
    ("POST", "/v1/completions"): Access.INFERENCE,
    ("POST", "/v1/route"): Access.INFERENCE,
    ("GET", "/v1/experts"): Access.INFERENCE,
    ("GET", "/v1/experts/{name}"): Access.INFERENCE,
    ("POST", "/v1/experts/rescan"): Access.ADMIN,
    ("POST", "/v1/experts/{name}/load"): Access.ADMIN,
    ("POST", "/v1/experts/{name}/unload"): Access.ADMIN,
    ("POST", "/v1/experts/{name}/pin"): Access.ADMIN,
    ("POST", "/v1/experts/{name}/unpin"): Access.ADMIN,
    ("GET", "/"): Access.PUBLIC,
    ("GET", "/page/{name}"): Access.PUBLIC,
    ("GET", "/openapi.json"): Access.PUBLIC,
}
"""(method, path template) → access. `/tokenize` and the other protocols of vLLM
(responses, messages) join when experts are honoured there too."""


def keep_listed(app: FastAPI) -> list[str]:
    """Drop every route, mount and websocket that the table does not list.

    Returns the paths that were dropped, for the log.
    """
    kept, dropped = [], []
    for route in app.router.routes:
        path = getattr(route, "path", "")
        methods: set[str] = set(getattr(route, "methods", None) or ())
        allowed = {m for m in methods if (m, path) in ROUTES}
        if path == "/metrics" or allowed:
            if isinstance(route, Route) and route.methods:
                route.methods = allowed | ({"HEAD"} & methods if "GET" in allowed else set())
            kept.append(route)
        else:
            dropped.append(path)
    app.router.routes[:] = kept
    app.openapi_schema = None
    return dropped
