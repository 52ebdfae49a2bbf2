"""The documents of a run: a JSONL file of any size, read as a stream, twice.

The first reading judges every line and divides the file into parts; the second writes each part as
a batch's input file. Nothing is asked before all lines are sound.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hive_expert.errors import PipelineError, Problem
from hive_expert.jobs.limits import REPORTED_PROBLEMS
from hive_expert.jobs.line import read_object
from hive_expert.jobs.pipelines.model import Pipeline
from hive_expert.jobs.pipelines.request import ENDPOINT, lacking

Progress = Callable[[int], None]
"""Told how many bytes of the file were read."""


@dataclass(frozen=True, slots=True)
class PartLimits:
    """Of one batch; below what a server takes unless it is told to take less."""

    document_bytes: int = 3 * 2**20
    documents: int = 10_000
    part_bytes: int = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Part:
    """Some lines of the input that become one batch."""

    number: int
    """From 1."""
    start: int
    """Byte of the file at which its first line begins."""
    first_line: int
    lines: int
    documents: int
    digest: str
    """SHA-256 of its bytes."""


@dataclass(frozen=True, slots=True)
class Survey:
    """A file whose documents all fit their pipeline."""

    path: Path
    documents: int
    parts: tuple[Part, ...]

    def run_id(self, pipeline: Pipeline) -> str:
        """The same for the same pipeline and the same documents."""
        digests = (part.digest for part in self.parts)
        return hashlib.sha256("\n".join((pipeline.canonical, *digests)).encode()).hexdigest()[:32]


@dataclass
class _Open:
    """A part that is not at its end."""

    number: int
    start: int
    first_line: int
    lines: int = 0
    documents: int = 0
    size: int = 0
    """Bytes as a batch's input."""
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def closed(self) -> Part:
        return Part(
            self.number,
            self.start,
            self.first_line,
            self.lines,
            self.documents,
            self.digest.hexdigest(),
        )


def survey(
    path: Path,
    pipeline: Pipeline,
    limits: PartLimits | None = None,
    progress: Progress | None = None,
) -> Survey:
    """Read all documents of a file once.

    Raises:
        PipelineError: every line that is broken or lacks what the pipeline asks for, with its
            number, up to a hundred; or the file cannot be read, or is empty.
    """
    limits = limits or PartLimits()
    overhead = len(batch_line(pipeline, 10**9, b"{}"))
    problems: list[Problem] = []
    parts: list[Part] = []
    current = _Open(1, 0, 1)
    documents = position = 0
    for number, raw in enumerate(_lines(path, limits.document_bytes), 1):
        if raw.strip():
            found = list(_problems(raw, pipeline, limits))
            problems += [Problem(f"{path.name} line {number}", p.what, p.remedy) for p in found]
            if len(problems) >= REPORTED_PROBLEMS or len(raw) > limits.document_bytes:
                problems[REPORTED_PROBLEMS:] = []
                problems.append(Problem(path.name, "the rest of the file was not read"))
                break
            documents += 1
            size = len(raw) + overhead
            full = current.documents == limits.documents or current.size + size > limits.part_bytes
            if full and current.documents:
                parts.append(current.closed())
                current = _Open(len(parts) + 1, position, number)
            current.documents += 1
            current.size += size
        current.lines += 1
        current.digest.update(raw)
        position += len(raw)
        if progress is not None:
            progress(position)
    if not problems and not documents:
        problems.append(Problem(path.name, "has no documents", "a JSON object on each line"))
    if problems:
        raise PipelineError(*problems)
    parts.append(current.closed())
    return Survey(path, documents, tuple(parts))


def write_part(path: Path, part: Part, pipeline: Pipeline, out: BinaryIO) -> None:
    """Write a part as the input of a batch.

    Raises:
        PipelineError: the file is no longer what was surveyed.
    """
    digest = hashlib.sha256()
    with path.open("rb") as lines:
        lines.seek(part.start)
        for number in range(part.first_line, part.first_line + part.lines):
            raw = lines.readline()
            digest.update(raw)
            if raw.strip():
                out.write(batch_line(pipeline, number, raw.strip()))
    if digest.hexdigest() != part.digest:
        what = "has changed since it was checked"
        raise PipelineError(Problem(str(path), what, "run the command again"))


def batch_line(pipeline: Pipeline, number: int, document: bytes) -> bytes:
    """One line of a batch's input: a document as it stands in its file, with its pipeline."""
    head = json.dumps({"custom_id": f"line-{number}", "method": "POST", "url": ENDPOINT})[:-1]
    start = f'{head}, "body": {{"pipeline": {pipeline.canonical}, "document": '
    return b"%s%s}}\n" % (start.encode(), document)


def line_of(custom_id: str) -> int:
    """The line of the input that an answer is to."""
    return int(custom_id.removeprefix("line-"))


def _lines(path: Path, limit: int) -> Iterator[bytes]:
    """The lines of a file; of one beyond the limit its start, and nothing after it."""
    try:
        with path.open("rb") as file:
            while raw := file.readline(limit + 2):
                yield raw
                if len(raw) > limit and not raw.endswith(b"\n"):
                    return
    except OSError as error:
        raise PipelineError(Problem(str(path), f"cannot be read: {error.strerror}")) from error


def _problems(raw: bytes, pipeline: Pipeline, limits: PartLimits) -> Iterator[Problem]:
    if len(raw) > limits.document_bytes:
        yield Problem("", f"longer than {limits.document_bytes:,} bytes")
        return
    document = read_object(raw)
    if isinstance(document, str):
        yield Problem("", document)
    else:
        yield from lacking(pipeline, document)
