"""The input of a batch that asks again what another has no result of."""

from __future__ import annotations

import time

from hive_expert.errors import JobError, Problem
from hive_expert.jobs.batch import Batch, File
from hive_expert.jobs.files import Files, new_id
from hive_expert.jobs.store import Store
from hive_expert.jobs.upload import TooLargeError

RETRIED = ("failed", "expired", "cancelled")
"""States of requests that are asked again."""


def write_unanswered(store: Store, files: Files, old: Batch, limit: int) -> File:
    """A new file of the lines of a batch that have no result, noted as its agent's.

    Raises:
        TooLargeError: more bytes than the limit.
        JobError: all have a result, or the batch's file is gone.
    """
    file_id, line = new_id("file-"), 0
    source = files.path(old.input_file)
    if not source.exists():
        raise JobError(Problem("", f"{old.input_file} is deleted", "upload it again"))
    if not store.in_states(old.id, RETRIED, 0, 1):
        raise JobError(Problem("", f"every request of {old.id} has a result"))
    with files.writing(file_id) as out, source.open("rb") as lines:
        while found := store.in_states(old.id, RETRIED, line, 1000):
            for request in found:
                lines.seek(request.start)
                out.write(lines.read(request.length).rstrip(b"\r\n") + b"\n")
                if out.tell() > limit:
                    what = f"what is retried has more than the {limit:,} bytes left for a copy"
                    raise TooLargeError(Problem("", what, "delete older files"))
            line = found[-1].line
        size = out.tell()
    name = f"retry_of_{old.id}.jsonl"
    file = File(file_id, old.agent, name, "batch", size, int(time.time()))
    store.add_file(file)
    return file
