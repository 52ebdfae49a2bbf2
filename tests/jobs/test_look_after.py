"""What is seen to now and then: batches whose time is over, and whose jobs these are."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from hive_expert.errors import NoJobsError
from hive_expert.jobs.answers import asked
from hive_expert.jobs.batch import Batch, File
from hive_expert.jobs.files import new_id
from hive_expert.jobs.service import Jobs
from hive_expert.jobs.steps import BatchSteps
from tests.jobs.conftest import Open, jsonl, line


class Parts:
    """A dispatcher and workflows in which every batch waits for its turn."""

    def __init__(self) -> None:
        self.running: dict[str, Any] = {}
        self.stopped: list[str] = []

    def is_lost(self, _: Batch) -> bool:
        return False

    def take_back(self, _: Batch) -> bool:
        return True

    async def stop(self) -> None:
        self.stopped.append("dispatcher")

    def close(self) -> None:
        self.stopped.append("workflows")


@pytest.fixture
def jobs(opened: Open) -> Jobs:
    made = opened()
    parts: Any = Parts()
    made.dispatcher = made.workflows = parts
    made.steps = BatchSteps(
        store=made.store,
        files=made.files,
        limits=made.settings.limits,
        dispatcher=parts,
        blocking=made.blocking,
        changes=made.changes,
    )
    return made


def waiting_batch(jobs: Jobs, expires_at: int) -> str:
    """A batch of two requests that nobody has read yet."""
    content, file_id = jsonl([line("a", "x"), line("b", "y")]), new_id("file-")
    with jobs.files.writing(file_id) as out:
        out.write(content)
    jobs.store.add_file(File(file_id, "", "in.jsonl", "batch", len(content), 1))
    endpoint = "/v1/chat/completions"
    batch = Batch(new_id("batch_"), "", endpoint, file_id, "1m", 1, expires_at)
    jobs.store.add_batch(batch, most_open=10)
    return batch.id


async def test_a_batch_whose_turn_comes_too_late_expires(jobs: Jobs) -> None:
    late, early = waiting_batch(jobs, 61), waiting_batch(jobs, 2**40)
    looking = asyncio.create_task(jobs._look_after())
    async with asyncio.timeout(30):
        while jobs.store.batch(late).state != "expired":
            await asyncio.sleep(0.01)
    looking.cancel()
    batch = jobs.store.batch(late)
    assert (batch.counts.total, batch.counts.failed) == (2, 2)
    assert batch.error_file is not None
    assert jobs.files.path(batch.error_file).read_text().count("batch_expired") == 2
    assert jobs.store.batch(early).state == "validating"


async def test_a_batch_without_its_file_fails_and_says_why(jobs: Jobs) -> None:
    batch_id = waiting_batch(jobs, 2**40)
    jobs.files.remove(jobs.store.batch(batch_id).input_file)
    assert await jobs.steps.take_in(batch_id) is False
    batch = jobs.store.batch(batch_id)
    assert batch.state == "failed"
    assert "No such file" in batch.problems[0]["message"]


async def test_jobs_that_another_server_has_taken_are_let_go(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def taken(*_: object) -> None:
        raise NoJobsError("another server works on these jobs")

    monkeypatch.setattr(jobs._lease, "keep", taken)
    await jobs._look_after()
    parts: Any = jobs.dispatcher
    assert parts.stopped == ["dispatcher", "workflows"]
    assert "another server works on these jobs" in caplog.text
    request: Any = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(hive_jobs=jobs)))
    with pytest.raises(NoJobsError):
        asked(request)
