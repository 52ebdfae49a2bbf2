"""Files and batches of a running server, with nothing but the standard library."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hive_expert.client.plain_http import (
    NETWORK_ERRORS,
    ask_server,
    broken_off,
    checked_url,
    no_answer,
    refusal,
    was_connected,
)
from hive_expert.errors import Problem, ServerError, UsageError

FINAL = ("failed", "completed", "expired", "cancelled")
_UPLOAD_TIMEOUT_S = 3600.0
_SILENCE_S = 60.0
"""A stream that says nothing for so long has no server any more."""
_BROKEN_UPLOAD = (
    "the server broke the upload off",
    "it may be larger than the server takes (hive-serve --max-file-mib) or has room for: split it, "
    "or delete older files; if others upload too, run the command again later",
)

Progress = Callable[[int], None]
"""Told how many bytes were sent."""


@dataclass(frozen=True, slots=True)
class JobsClient:
    """One server. Every method raises ServerError: nobody answers, or the server refuses."""

    url: str
    api_key: str | None = None

    def upload(self, path: Path, progress: Progress | None = None) -> dict[str, Any]:
        """Upload a file for a batch; it is read as it is sent. Raises UsageError: no such file."""
        # A refusal does not reach whoever still sends; that of a wrong key must.
        self._ask("/v1/files?limit=1")
        boundary = secrets.token_hex(16)
        name = path.name.replace('"', "")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        try:
            with path.open("rb") as file:
                size = path.stat().st_size
                body = _Body(head, file, tail, progress)
                request = self._request("/v1/files", method="POST", data=body)
                request.add_header("content-type", f"multipart/form-data; boundary={boundary}")
                request.add_header("content-length", str(len(head) + size + len(tail)))
                with self._answer(request, _UPLOAD_TIMEOUT_S) as answer:
                    return _loaded(answer.read())
        except NETWORK_ERRORS as error:
            if was_connected(error):
                raise ServerError(Problem(self.url, *_BROKEN_UPLOAD)) from error
            raise no_answer(self.url, error) from error
        except OSError as error:
            raise UsageError(Problem(str(path), f"cannot be read: {error.strerror}")) from error

    def make(self, order: dict[str, Any]) -> dict[str, Any]:
        return self._ask("/v1/batches", body=order)

    def batch(self, batch_id: str) -> dict[str, Any]:
        return self._ask(f"/v1/batches/{quote(batch_id, safe='')}")

    def batches(self, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The newest first; all of them, or so many."""
        after, seen = "", 0
        while True:
            page = self._ask(f"/v1/batches?limit=100{after}")
            for batch in page["data"]:
                if limit is not None and seen >= limit:
                    return
                seen += 1
                yield batch
            if not page["has_more"]:
                return
            after = f"&after={page['last_id']}"

    def files(self) -> Iterator[dict[str, Any]]:
        """All of them, the newest first."""
        after = ""
        while True:
            page = self._ask(f"/v1/files?limit=1000{after}")
            yield from page["data"]
            if not page["has_more"]:
                return
            after = f"&after={page['last_id']}"

    def cancel(self, batch_id: str) -> dict[str, Any]:
        return self._ask(f"/v1/batches/{quote(batch_id, safe='')}/cancel", body={})

    def retry(self, batch_id: str) -> dict[str, Any]:
        return self._ask(f"/v1/batches/{quote(batch_id, safe='')}/retry", body={})

    def delete(self, batch_id: str) -> None:
        self._ask(f"/v1/batches/{quote(batch_id, safe='')}", method="DELETE")

    def delete_file(self, file_id: str) -> None:
        self._ask(f"/v1/files/{quote(file_id, safe='')}", method="DELETE")

    def content(self, file_id: str) -> Iterator[bytes]:
        """A file's bytes, piece by piece; all of them, or ServerError."""
        request = self._request(f"/v1/files/{quote(file_id, safe='')}/content")
        with self._reading(), self._answer(request, _SILENCE_S) as answer:
            while piece := answer.read(1 << 16):
                yield piece
            if answer.length:  # bytes that are still owed, where the server has said how many
                raise broken_off(self.url)

    def watch(self, batch_id: str) -> Iterator[dict[str, Any]]:
        """A batch each time it has changed, until it is done."""
        request = self._request(f"/v1/batches/{quote(batch_id, safe='')}/events")
        with self._reading(), self._answer(request, _SILENCE_S) as answer:
            for line in answer:
                if line.startswith(b"data: "):
                    yield _loaded(line[6:])

    def _ask(self, path: str, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = ask_server(self.url, path, api_key=self.api_key, **more)
        return answer

    def _request(self, path: str, **more: Any) -> urllib.request.Request:
        request = urllib.request.Request(f"{checked_url(self.url)}{path}", **more)  # noqa: S310 — checked_url allows http and https only
        if self.api_key:
            request.add_header("authorization", f"Bearer {self.api_key}")
        return request

    def _answer(self, request: urllib.request.Request, timeout: float) -> Any:
        """An answer to be read. Raises one of `NETWORK_ERRORS`, too."""
        try:
            return urllib.request.urlopen(request, timeout=timeout)  # noqa: S310 — as above
        except urllib.error.HTTPError as error:
            raise refusal(error.code, error.read(), self.url) from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except NETWORK_ERRORS as error:
            raise no_answer(self.url, error) from error


class _Body(RawIOBase):
    """A form around a file, read as it is sent."""

    def __init__(self, head: bytes, file: Any, tail: bytes, progress: Progress | None) -> None:
        self._parts: list[Any] = [head, file, tail]
        self._progress = progress
        self._sent = 0

    def read(self, size: int = -1) -> bytes:
        wanted = 1 << 16 if size is None or size < 0 else size
        while self._parts:
            part = self._parts[0]
            if isinstance(part, bytes):
                self._parts.pop(0)
                return part
            piece: bytes = part.read(wanted)
            if piece:
                self._sent += len(piece)
                if self._progress is not None:
                    self._progress(self._sent)
                return piece
            self._parts.pop(0)
        return b""


def _loaded(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ServerError(Problem("server", "does not answer as hive-serve does")) from error
    assert isinstance(value, dict)
    return value
