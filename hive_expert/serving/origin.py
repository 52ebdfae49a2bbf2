"""Requests that a browser sends for a page of another site.

A server on the loopback may do without keys, and a browser on the same machine reaches it: any
page its user visits could ask models, or change what is served. A browser names the page's site in
`Origin`; where it need not (another name for this machine: DNS rebinding), `Host` gives it away.
"""

from __future__ import annotations

from collections.abc import Set
from urllib.parse import urlsplit

from starlette.datastructures import Headers

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


def _name(host: str) -> str:
    """A host without its port."""
    return (host if host.endswith("]") else host.rpartition(":")[0] or host).lower()
