"""`POST /v1/files`: a form with a file, read piece by piece: a file of any size takes no memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header

from hive_expert.errors import JobError, Problem
from hive_expert.jobs.batch import read_expiry
from hive_expert.jobs.files import require_name

MAX_FIELD_BYTES = 1024
MAX_FIELDS = 8
MAX_HEADER_BYTES = 4096

FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
PURPOSE = "batch"


class TooLargeError(JobError):
    """A file beyond what one may have."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What a form said."""

    name: str
    size: int
    purpose: str
    expires_seconds: int | None


@dataclass
class _Form:
    """Takes a form apart as its bytes come; the file's go to `out`, within `limit`."""

    out: BinaryIO
    limit: int
    fields: dict[str, bytearray] = field(default_factory=dict)
    name: str | None = None
    size: int = 0
    ended: bool = False
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _into: bytearray | None = None
    """The field that the part at hand is; None: it is the file."""

    def callbacks(self) -> dict[str, Callable[..., Any]]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._more(self._header, data[start:end]),
            "on_header_value": lambda data, start, end: self._more(self._value, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers.clear()

    def _more(self, held: bytearray, piece: bytes) -> None:
        held += piece
        if len(held) > MAX_HEADER_BYTES:
            raise JobError(Problem("body", "a header of the form is too long"))

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()
        if len(self._headers) > MAX_FIELDS:
            raise JobError(Problem("body", "a part of the form has too many headers"))

    def _end_headers(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        try:
            name = options.get(b"name", b"").decode()
            filename = options[b"filename"].decode() if b"filename" in options else None
        except UnicodeDecodeError as error:
            raise JobError(Problem("body", "a name in the form is no UTF-8")) from error
        if name == "file":
            if self.name is not None:
                raise JobError(Problem("file", "more than one file in the form"))
            if filename is None:
                raise JobError(Problem("file", "the form has no file under this name"))
            self.name = require_name(filename)
            self._into = None
        elif name not in FIELDS or name in self.fields:
            raise JobError(
                Problem(name[:40] or "body", "is no field of an upload, or is twice there")
            )
        else:
            self._into = self.fields.setdefault(name, bytearray())

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._into is not None:
            self._into += data[start:end]
            if len(self._into) > MAX_FIELD_BYTES:
                raise JobError(Problem("body", "a field of the form is too long"))
            return
        self.size += end - start
        if self.size > self.limit:
            what = f"is larger than the {self.limit:,} bytes that are left for it"
            raise TooLargeError(Problem("file", what, "split it, or delete older files"))
        self.out.write(data[start:end])

    def _end(self) -> None:
        self.ended = True


async def receive_form(
    content_type: str, pieces: AsyncIterator[bytes], out: BinaryIO, *, limit: int, seconds: float
) -> Uploaded:
    """Write a form's file to `out`; what the form says of it.

    Args:
        limit: bytes of the file.
        seconds: for all of it to arrive.

    Raises:
        TooLargeError: more bytes than the limit.
        JobError: it is no such form, or its fields make no sense, or it came too slowly.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise JobError(Problem("body", "is no multipart/form-data", "send a form with a file"))
    form = _Form(out, limit)
    try:
        parser = MultipartParser(boundary, callbacks=form.callbacks())  # type: ignore[arg-type]  # a TypedDict of the same keys
        async with asyncio.timeout(seconds):
            async for piece in pieces:
                # Writing a piece of some kilobytes to the page cache takes less than a thread.
                parser.write(piece)
        parser.finalize()
    except MultipartParseError as error:
        raise JobError(Problem("body", f"is no form: {error}")) from error
    except TimeoutError as error:
        raise JobError(Problem("file", f"did not arrive within {seconds:g} s")) from error
    if not form.ended:
        raise JobError(Problem("body", "the form ends in the middle"))
    return _uploaded(form)


def _uploaded(form: _Form) -> Uploaded:
    fields = {name: bytes(value).decode("utf-8", "replace") for name, value in form.fields.items()}
    problems = []
    if form.name is None:
        problems.append(Problem("file", "is missing"))
    if fields.get("purpose") != PURPOSE:
        problems.append(Problem("purpose", f"must be {PURPOSE!r}: there are no other files here"))
    expires, wrong = read_expiry(_expiry(fields), "expires_after")
    problems += wrong
    if form.name is None or problems:
        raise JobError(*problems)
    return Uploaded(form.name, form.size, PURPOSE, expires)


def _expiry(fields: dict[str, str]) -> dict[str, Any] | None:
    given = {name[14:-1]: value for name, value in fields.items() if name != "purpose"}
    if not given:
        return None
    seconds = given.get("seconds", "")
    return {**given, "seconds": int(seconds) if seconds.isdecimal() else None}
