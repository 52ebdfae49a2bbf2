"""Every route of the server and who may use it. What is not listed here is not served.

vLLM mounts far more than a multi-tenant server should show (runtime LoRA paths,
`/invocations`, scaling, weight updates), and its `--api-key` guards only some of it.
So this table decides, twice: what it does not serve is taken off the application
(`keep_listed`), and each request is looked up in it before anything else sees it
(`serving.guard`). A test compares it with all that vLLM can mount; see `absent_routes`.

To add a route: write it, and list it here with who may call it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from fastapi import FastAPI
from starlette.routing import BaseRoute, Route, compile_path


class Access(Enum):
    """Who may call a route."""

    PUBLIC = "public"
    """No key: says whether the server lives, nothing about what it holds."""
    INFERENCE = "inference"
    """Whoever may ask a model."""
    JOBS = "jobs"
    """Whoever may ask a model, about files and batches of his own."""
    ADMIN = "admin"
    """Whoever may change what is served: needs an admin key, see `serving.auth`."""


ROUTES: dict[tuple[str, str], Access] = {
    ("GET", "/health"): Access.PUBLIC,
    ("GET", "/version"): Access.PUBLIC,
    ("GET", "/openapi.json"): Access.PUBLIC,
    ("GET", "/metrics"): Access.INFERENCE,  # but series by tenant: `observation.of_all_tenants`
    ("GET", "/v1/models"): Access.INFERENCE,
    ("POST", "/v1/chat/completions"): Access.INFERENCE,
    ("POST", "/v1/completions"): Access.INFERENCE,
    ("POST", "/v1/responses"): Access.INFERENCE,
    ("POST", "/tokenize"): Access.INFERENCE,
    ("POST", "/detokenize"): Access.INFERENCE,
    ("POST", "/v1/route"): Access.INFERENCE,
    ("GET", "/v1/experts"): Access.INFERENCE,
    ("GET", "/v1/experts/{name}"): Access.INFERENCE,
    ("POST", "/v1/files"): Access.JOBS,
    ("GET", "/v1/files"): Access.JOBS,
    ("GET", "/v1/files/{file_id}"): Access.JOBS,
    ("GET", "/v1/files/{file_id}/content"): Access.JOBS,
    ("DELETE", "/v1/files/{file_id}"): Access.JOBS,
    ("POST", "/v1/batches"): Access.JOBS,
    ("GET", "/v1/batches"): Access.JOBS,
    ("GET", "/v1/batches/{batch_id}"): Access.JOBS,
    ("DELETE", "/v1/batches/{batch_id}"): Access.JOBS,
    ("POST", "/v1/batches/{batch_id}/cancel"): Access.JOBS,
    ("POST", "/v1/batches/{batch_id}/retry"): Access.JOBS,
    ("GET", "/v1/batches/{batch_id}/events"): Access.JOBS,
    ("GET", "/v1/jobs/events"): Access.JOBS,
    ("POST", "/v1/experts/rescan"): Access.ADMIN,
    ("POST", "/v1/experts/{name}/load"): Access.ADMIN,
    ("POST", "/v1/experts/{name}/unload"): Access.ADMIN,
    ("POST", "/v1/experts/{name}/pin"): Access.ADMIN,
    ("POST", "/v1/experts/{name}/unpin"): Access.ADMIN,
    ("GET", "/"): Access.PUBLIC,
    ("GET", "/page/{name}"): Access.PUBLIC,
}
"""(method, path template) → access. A GET route answers HEAD as well."""

STREAMED = frozenset({("POST", "/v1/files")})
"""Routes that read their bodies themselves, piece by piece and within limits of their own."""

LOOKING_ON = frozenset({("POST", "/tokenize"), ("POST", "/detokenize"), ("POST", "/v1/route")})
"""Routes with a body, for whoever may ask a model, on which nothing is generated: they take no
place in the engine, and nothing of an agent's tokens."""


@dataclass(frozen=True, slots=True)
class Unlisted:
    """What a request asks for is not served under this method; `allowed` names those that are."""

    allowed: tuple[str, ...] = ()


class RouteTable:
    """Looks up requests in a table of routes.

    Law: a request is granted an access only if its method and its whole path match an entry.
    """

    def __init__(self, routes: Mapping[tuple[str, str], Access] = ROUTES) -> None:
        by_path: dict[str, dict[str, Access]] = {}
        for (method, path), access in routes.items():
            methods = by_path.setdefault(path, {})
            methods[method] = access
            if method == "GET":
                methods.setdefault("HEAD", access)
        self._exact = {path: m for path, m in by_path.items() if "{" not in path}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Access]]] = [
            (compile_path(path)[0], methods) for path, methods in by_path.items() if "{" in path
        ]

    def access(self, method: str, path: str) -> Access | Unlisted:
        """Who may ask for `path`, percent-decoded and without query."""
        found = self._exact.get(path)
        if found is None:
            found = next((m for pattern, m in self._patterns if pattern.match(path)), None)
        if found is None:
            return Unlisted()
        return found.get(method) or Unlisted(tuple(sorted(found)))


def _asks_model(route: BaseRoute) -> bool:
    """Whether it is a route on which answers are generated."""
    asked = ("POST", getattr(route, "path", ""))
    return ROUTES.get(asked) is Access.INFERENCE and asked not in LOOKING_ON


def keep_listed(app: FastAPI) -> list[str]:
    """Drop every route, mount and websocket that the table does not list.

    Those that ask a model come first: a request is compared with one after the other, three times
    (twice for metrics).

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
    app.router.routes[:] = sorted(kept, key=lambda route: not _asks_model(route))
    app.openapi_schema = None
    return dropped
