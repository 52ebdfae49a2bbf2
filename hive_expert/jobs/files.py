"""The bytes of files, each under its id in one folder. No name of a stranger's becomes a path.

A file appears whole, by one rename, before the database knows it. What a killed process left
without an entry is swept at the next start, if the folder is that database's (`belonging`).
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hive_expert.errors import JobError, Problem
from hive_expert.jobs.limits import FILE_NAME_CHARACTERS

_ID = re.compile(r"file-[0-9a-f]{24}")
_PART = ".part"


def new_id(kind: str) -> str:
    """A name that nobody can guess: `file-…`, `batch_…`."""
    return f"{kind}{secrets.token_hex(12)}"


def require_name(name: str) -> str:
    """The name of a file as its client calls it, which is shown to people and never opened.

    Raises:
        JobError: it has path separators or control characters, or is empty or too long.
    """
    wrong = (
        "is empty"
        if not name.strip(". ")
        else f"has more than {FILE_NAME_CHARACTERS} characters"
        if len(name) > FILE_NAME_CHARACTERS
        else "has a path separator or control character"
        if any(c in "/\\" or not c.isprintable() for c in name)
        else None
    )
    if wrong is not None:
        raise JobError(Problem("file", f"its name {wrong}", "such as requests.jsonl"))
    return name


@dataclass(frozen=True, slots=True)
class Files:
    """The folder."""

    folder: Path

    def path(self, file_id: str) -> Path:
        """Where a file's bytes lie."""
        if not _ID.fullmatch(file_id):
            raise JobError(Problem("", f"No such file: {file_id[:80]}"))
        return self.folder / file_id

    @contextmanager
    def writing(self, file_id: str) -> Iterator[BinaryIO]:
        """Write a new file; it is there once the block is done, and not at all if that fails."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.path(file_id)
        part = path.with_suffix(_PART)
        try:
            with part.open("xb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)

    def remove(self, file_id: str) -> None:
        self.path(file_id).unlink(missing_ok=True)

    def all_ids(self) -> set[str]:
        """Of the files that are whole."""
        return {path.name for path in self._all() if path.suffix != _PART}

    def sweep(self, known: set[str]) -> int:
        """Remove what is not known, and what is not whole; how many files that were."""
        strangers = [path for path in self._all() if path.name not in known]
        for path in strangers:
            path.unlink(missing_ok=True)
        return len(strangers)

    def _all(self) -> Iterator[Path]:
        return self.folder.glob("file-*") if self.folder.is_dir() else iter(())
