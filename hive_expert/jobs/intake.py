"""Step one of a batch: read its file, and note each request as a row, or say what is wrong.

Nothing is kept of the bodies: a row has where its line stands. A file is read as a stream and is
taken in whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hive_expert.jobs.limits import REPORTED_PROBLEMS, JobLimits
from hive_expert.jobs.line import LineProblem, read_line
from hive_expert.jobs.request_rows import Pending
from hive_expert.jobs.store import Store

_AT_ONCE = 1000
"""Rows in one transaction."""


def take_in(
    store: Store, batch_id: str, path: Path, endpoint: str, limits: JobLimits
) -> list[LineProblem]:
    """Note the requests of a batch's file. It can be done again, from the beginning.

    Returns:
        What is wrong with the file, in the order of its lines; nothing if all of it was noted.
    """
    store.clear_requests(batch_id)
    problems: list[LineProblem] = []
    noted: list[Pending] = []
    for found in requests_in(path, endpoint, limits):
        if isinstance(found, LineProblem):
            problems.append(found)
            if len(problems) > REPORTED_PROBLEMS:
                what = f"more than {REPORTED_PROBLEMS} problems; the rest of the file was not read"
                problems[-1] = LineProblem("too_many_problems", what, found.line)
                break
        elif not problems:
            noted.append(found)
            if len(noted) == _AT_ONCE:
                store.add_requests(batch_id, noted)
                noted = []
    if noted and not problems:
        store.add_requests(batch_id, noted)
    if problems:
        store.clear_requests(batch_id)
    return problems


def requests_in(path: Path, endpoint: str, limits: JobLimits) -> Iterator[Pending | LineProblem]:
    """The requests of a file and what is wrong with it or its lines, in their order."""
    try:
        yield from _requests(path, endpoint, limits)
    except OSError as error:
        # Raised on, it would have the batch begun anew for ever.
        yield LineProblem("unreadable_file", f"the input file cannot be read: {error.strerror}")


def _requests(path: Path, endpoint: str, limits: JobLimits) -> Iterator[Pending | LineProblem]:
    seen: dict[str, int] = {}
    count = start = 0
    with path.open("rb") as lines:
        for number, raw in enumerate(iter(lambda: lines.readline(limits.line_bytes + 1), b""), 1):
            if len(raw) > limits.line_bytes:
                what = f"longer than {limits.line_bytes:,} bytes; the rest of the file was not read"
                yield LineProblem("line_too_long", what, number)
                return
            if raw.strip():
                count += 1
                if count > limits.requests:
                    what = f"more than {limits.requests:,} requests"
                    yield LineProblem("too_many_requests", what, number)
                    return
                yield from _judged(raw, number, start, endpoint, seen)
            elif number - count > limits.requests:
                # A file of nothing else would be read for minutes.
                yield LineProblem("too_many_lines", "too many empty lines", number)
                return
            start += len(raw)
    if not count:
        yield LineProblem("empty_file", "the file has no requests")


def _judged(
    raw: bytes, number: int, start: int, endpoint: str, seen: dict[str, int]
) -> Iterator[Pending | LineProblem]:
    read = read_line(raw, number, endpoint)
    if isinstance(read, list):
        yield from read
        return
    first = seen.setdefault(read.custom_id, number)
    if first != number:
        what = f"custom_id {read.custom_id!r} stands in line {first} already"
        yield LineProblem("duplicate_custom_id", what, number, "custom_id")
    else:
        yield Pending(number, read.custom_id, start, len(raw))
