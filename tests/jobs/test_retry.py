"""A retry that is refused leaves nothing behind."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hive_expert.errors import BudgetError, HiveError, JobError
from hive_expert.jobs.batch import Batch, File
from hive_expert.jobs.files import new_id
from hive_expert.jobs.limits import JobLimits
from hive_expert.jobs.request_rows import Pending
from hive_expert.jobs.service import Jobs
from hive_expert.jobs.upload import TooLargeError
from hive_expert.serving.agents import Agent, Agents
from tests.jobs.conftest import Open, jsonl, line

CONTENT = jsonl([line("a", "x")])


def cancelled_batch(jobs: Jobs) -> Batch:
    """A batch of one request that has no result."""
    file_id, now = new_id("file-"), int(time.time())
    with jobs.files.writing(file_id) as out:
        out.write(CONTENT)
    jobs.store.add_file(File(file_id, "alice", "in.jsonl", "batch", len(CONTENT), now))
    batch = Batch("batch_1", "alice", "/v1/chat/completions", file_id, "1h", now, now + 3600)
    jobs.store.add_batch(batch, most_open=10)
    jobs.store.add_requests(batch.id, [Pending(1, "a", 0, len(CONTENT))])
    jobs.store.move(batch.id, "cancelling", now)
    jobs.store.give_up(batch.id, "cancelled")
    jobs.store.finish(batch.id, "cancelled", now, None, None)
    return batch


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (JobLimits(stored_bytes=2 * len(CONTENT) - 1), TooLargeError),
        (JobLimits(files=1), JobError),
        (JobLimits(open_batches=0), JobError),
    ],
)
async def test_what_there_is_no_room_for_is_not_copied(
    opened: Open, monkeypatch: pytest.MonkeyPatch, limits: JobLimits, error: type[HiveError]
) -> None:
    async def made(*_: Any) -> None:
        pytest.fail("it was let through")

    jobs = opened(limits=limits)
    batch = cancelled_batch(jobs)
    monkeypatch.setattr(jobs, "make", made)
    with pytest.raises(error):
        await jobs.retry(batch.id, "alice")
    assert jobs.files.all_ids() == jobs.store.all_file_ids() == {batch.input_file}


async def test_nothing_is_copied_once_the_budget_is_used_up(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = opened(agents=Agents(named={"alice": Agent(tokens=1)}))
    batch = cancelled_batch(jobs)
    jobs._door.ledger.add("alice", 1)
    monkeypatch.setattr("hive_expert.jobs.service.write_unanswered", pytest.fail)
    with pytest.raises(BudgetError):
        await jobs.retry(batch.id, "alice")


async def test_the_copy_goes_if_there_is_no_batch_of_it(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any) -> None:
        raise JobError("too many batches just now")

    jobs = opened()
    batch = cancelled_batch(jobs)
    monkeypatch.setattr(jobs, "make", refused)
    with pytest.raises(JobError, match="just now"):
        await jobs.retry(batch.id, "alice")
    assert jobs.files.all_ids() == jobs.store.all_file_ids() == {batch.input_file}
