"""`GET /`: a page for people: static files, under a policy that lets nothing else in.

The page asks the same routes as every client; it holds no data of its own and needs no key.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter, Response

router = APIRouter()

FOLDER = Path(__file__).parent / "page"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS = {
    # No inline script or style, nothing from elsewhere, no framing; and text can never be made
    # into HTML by a script, ours included (trusted types).
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-cache",
}


@lru_cache(maxsize=1)
def files() -> dict[str, tuple[bytes, str]]:
    """Content and type of the page's files by name, read once."""
    return {
        path.name: (path.read_bytes(), _KINDS[path.suffix]) for path in sorted(FOLDER.iterdir())
    }


@router.get("/")
async def page() -> Response:
    """The page."""
    return _file("index.html")


@router.get("/page/{name}")
async def page_file(name: str) -> Response:
    """A file of the page."""
    return _file(name)


def _file(name: str) -> Response:
    if name not in files():
        return Response(status_code=404)
    content, kind = files()[name]
    return Response(content, media_type=kind, headers=HEADERS)
