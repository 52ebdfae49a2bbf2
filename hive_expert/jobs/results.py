"""The last step of a batch: its answers as files, a line for each request in the input's order.

Answers of the 2xx kind go to the output file, all others to the error file: each custom_id stands
in exactly one of them, exactly once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, BinaryIO

from hive_expert.jobs.batch import UNANSWERED, Batch, File
from hive_expert.jobs.files import Files, new_id
from hive_expert.jobs.store import Store

_AT_ONCE = 500


def write_results(
    store: Store, files: Files, batch: Batch, now: int
) -> tuple[File | None, File | None]:
    """Write a batch's output and error file; None for one that would be empty.

    Once its requests are all answered or given up. Files of an earlier try, which was killed before
    the batch knew them, are swept later.
    """
    kinds: dict[bool, tuple[str, BinaryIO]] = {}
    with ExitStack() as opened:
        for good, line in _lines(store, batch):
            if good not in kinds:
                file_id = new_id("file-")
                kinds[good] = file_id, opened.enter_context(files.writing(file_id))
            kinds[good][1].write(line)
        sizes = {good: (file_id, out.tell()) for good, (file_id, out) in kinds.items()}
    expires_at = None if batch.output_seconds is None else now + batch.output_seconds

    def file(good: bool, name: str) -> File | None:
        if good not in sizes:
            return None
        file_id, size = sizes[good]
        return File(file_id, batch.agent, name, "batch_output", size, now, expires_at)

    return file(True, f"{batch.id}_output.jsonl"), file(False, f"{batch.id}_error.jsonl")


def _lines(store: Store, batch: Batch) -> Iterator[tuple[bool, bytes]]:
    line = 0
    while rows := store.answers(batch.id, line, _AT_ONCE):
        for row in rows:
            yield row["state"] == "done", result_line(row)
        line = rows[-1]["line"]


def result_line(row: Mapping[str, Any]) -> bytes:
    """One line of an output or error file.

    The answer is spliced in as it stands in the database: it is JSON on one line.
    """
    head = {"id": f"batch_req_{row['batch'][6:]}_{row['line']}", "custom_id": row["custom_id"]}
    start = json.dumps(head, ensure_ascii=False)[:-1]
    response, error = "null", "null"
    if row["state"] in UNANSWERED:
        code = f"batch_{row['state']}"
        error = json.dumps({"code": code, "message": UNANSWERED[row["state"]]})
    elif row["status"]:
        response = f'{{"status_code": {row["status"]}, {row["answer"][1:]}'
    else:
        error = row["answer"]
    return f'{start}, "response": {response}, "error": {error}}}\n'.encode()
