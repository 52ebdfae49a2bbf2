"""Requests that a browser sends for a page of another site.

A server on the loopback may do without keys, and a browser on the same machine reaches it: any
page its user visits could ask models, or change what is served. A browser names the page's site in
`Origin`; where it need not (another name for this machine: DNS rebinding), `Host` gives it away.
"""

from __future__ import annotations

from collections.abc import Set
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Scope, Send

SHOWN = (
    "x-hive-experts, x-hive-route, x-hive-residency, x-hive-validation, x-hive-grammar, "
    "x-hive-truncation, x-hive-decoding, x-hive-admin, x-request-id, retry-after, x-should-retry"
)
"""What a browser lets the pages of allowed sites see of an answer, beside its body."""

LOOPBACK_NAMES = frozenset({"127.0.0.1", "[::1]", "localhost"})


def foreign_page(headers: Headers, allowed: Set[str], *, local: bool) -> bool:
    """Whether a request comes from a page of a site that is neither this server's nor allowed.

    Args:
        allowed: origins such as ``https://chat.example.org``.
        local: the server listens on the loopback, and is asked for by no other name.
    """
    host = headers.get("host", "")
    if local and _name(host) not in LOOPBACK_NAMES:
        return True
    origin = headers.get("origin")
    if origin is None or origin in allowed:
        return False
    return urlsplit(origin).netloc.lower() != host.lower()


def showing(send: Send, scope: Scope, allowed: Set[str]) -> Send:
    """A `send` that has the headers of answers shown to the pages of allowed sites.

    That these may read the answer at all is for vLLM's own middleware to say, which does not know
    our headers.
    """
    if not allowed or Headers(scope=scope).get("origin") not in allowed:
        return send

    async def shown(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["access-control-expose-headers"] = SHOWN
        await send(message)

    return shown


def _name(host: str) -> str:
    """A host without its port."""
    return (host if host.endswith("]") else host.rpartition(":")[0] or host).lower()
