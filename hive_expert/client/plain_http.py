"""One request to a server with nothing but the standard library, for commands that look up."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import IncompleteRead
from typing import Any
from urllib.parse import urlsplit

from hive_expert.errors import Problem, ServerError, UnreachableError, UsageError

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_S = 30.0

NETWORK_ERRORS = (urllib.error.URLError, TimeoutError, ConnectionError, IncompleteRead)
"""What urllib raises where there is no answer, or only the beginning of one."""


def ask_server(
    url: str,
    path: str,
    *,
    api_key: str | None = None,
    body: Any = None,
    method: str | None = None,
    timeout: float = TIMEOUT_S,
) -> Any:
    """The JSON that a server answers to GET, or to POST with a body.

    Raises:
        ServerError: it refuses, or answers with nonsense; UnreachableError: nobody answers there.
        UsageError: the URL is no http URL.
    """
    headers = {"content-type": "application/json"}
    if api_key:
        headers["authorization"] = f"Bearer {api_key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 — checked_url allows http and https only
        f"{checked_url(url)}{path}", data=data, headers=headers, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310 — as above
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise refusal(error.code, error.read(), url) from error
    except NETWORK_ERRORS as error:
        raise no_answer(url, error) from error
    except ValueError as error:
        raise ServerError(Problem(url, "does not answer as hive-serve does")) from error


def checked_url(url: str) -> str:
    """A server's root without the trailing `/` or `/v1` that clients often carry.

    Raises:
        UsageError: the URL is no http URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(Problem(url, "is no http URL", f"for example {DEFAULT_URL}"))
    return url.rstrip("/").removesuffix("/v1")


def no_answer(url: str, error: Exception) -> ServerError:
    """Why one of `NETWORK_ERRORS` was raised: nobody is there, or who was there has hung up."""
    return broken_off(url, error) if was_connected(error) else unreachable(url)


def was_connected(error: Exception) -> bool:
    """Whether one of `NETWORK_ERRORS` came of a connection that had been made."""
    if not isinstance(error, urllib.error.URLError):
        return not isinstance(error, ConnectionRefusedError)
    # urllib wraps what happens before the whole request is sent, and nothing after it.
    lost = isinstance(error.reason, ConnectionError)
    return lost and not isinstance(error.reason, ConnectionRefusedError)


def broken_off(url: str, error: Exception | None = None) -> ServerError:
    late = isinstance(error, TimeoutError)
    what = "did not answer in time" if late else "the connection broke off"
    return ServerError(Problem(url, what, "run the command again"))


def unreachable(url: str) -> UnreachableError:
    remedy = "start one: hive-serve --experts-dir experts.d"
    return UnreachableError(Problem(url, "no server answers there", remedy))


def refusal(status: int, content: bytes, url: str) -> ServerError:
    """A server's error, in its own words where it has OpenAI's shape."""
    try:
        message = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = "the server refused"
    remedy = "set HIVE_API_KEY or give --api-key" if status in (401, 403) else ""
    return ServerError(Problem(url, f"{message} (HTTP {status})", remedy))
