"""Batches on a server under measurement, through the routes that every client has."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from serving_client import Ask

from hive_expert.client.jobs import FINAL, JobsClient

LOOK_S = 0.1
LIMIT_S = 600.0
"""For anything that is waited for."""


def write_batch(path: Path, asks: Sequence[Ask]) -> Path:
    """A file of chats, a line each; `custom_id` is `r` and the number."""
    with path.open("w") as out:
        for number, ask in enumerate(asks):
            line = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions"}
            out.write(json.dumps({**line, "body": ask.body}) + "\n")
    return path


class Batches:
    """The batches of one agent."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.client = JobsClient(url, key)

    def upload(self, path: Path) -> str:
        file_id: str = self.client.upload(path)["id"]
        return file_id

    def make(self, file_id: str, endpoint: str = "/v1/chat/completions") -> str:
        order = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h"}
        batch_id: str = self.client.make(order)["id"]
        return batch_id

    def ended(self, batch_id: str) -> dict[str, Any]:
        """The batch, once it is done."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            batch = self.client.batch(batch_id)
            if batch["status"] in FINAL:
                return batch
            time.sleep(LOOK_S)
        raise TimeoutError(batch_id)

    def lines(self, file_id: str | None) -> Iterator[dict[str, Any]]:
        """The lines of an output or error file; none if there is no file."""
        content = b"".join(self.client.content(file_id)) if file_id else b""
        return map(json.loads, content.splitlines())

    @contextmanager
    def beside(self, path: Path, at_least: int) -> Iterator[str]:
        """A batch of which so many requests are in the engine when the block begins; it is broken
        off at its end, and must not be done before."""
        batch_id = self.make(self.upload(path))
        wait_until_running(self.client.url, at_least)
        yield batch_id
        state = self.client.cancel(batch_id)["status"]
        assert state in ("cancelling", "cancelled"), f"the batch was {state}: make it longer"
        self.ended(batch_id)


def metric(url: str, sample: str, key: str | None = None, **labels: str) -> float:
    """The sum of a metric's samples that bear these labels."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"{url}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        page = answer.read().decode()
    return sum(
        found.value
        for family in text_string_to_metric_families(page)
        for found in family.samples
        if found.name == sample and labels.items() <= found.labels.items()
    )


def wait_until_running(url: str, at_least: int, key: str | None = None) -> None:
    """Until so many requests of batches are in the engine."""
    deadline = time.monotonic() + LIMIT_S
    while metric(url, "hive_job_requests_running", key) < at_least:
        assert time.monotonic() < deadline, "batches do not fill the room they have"
        time.sleep(LOOK_S)
