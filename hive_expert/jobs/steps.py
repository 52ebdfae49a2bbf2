"""The steps of a batch's workflow, each of which may be done twice."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from hive_expert.jobs.batch import FINAL, Batch
from hive_expert.jobs.changes import Changes
from hive_expert.jobs.dispatcher import Dispatcher
from hive_expert.jobs.files import Files
from hive_expert.jobs.intake import take_in
from hive_expert.jobs.limits import JobLimits
from hive_expert.jobs.recorder import Blocking
from hive_expert.jobs.results import write_results
from hive_expert.jobs.store import Store

log = logging.getLogger("hive_expert.jobs")


@dataclass
class BatchSteps:
    """What `workflows.Workflows` does with a batch, in the order of the methods."""

    store: Store
    files: Files
    limits: JobLimits
    dispatcher: Dispatcher
    blocking: Blocking
    changes: Changes
    cancelled: set[str] = field(default_factory=set)
    """Batches that were cancelled while they were worked on, perhaps between two steps."""

    async def take_in(self, batch_id: str) -> bool:
        """Read the input file; whether there are requests to answer."""
        batch = await self.blocking(lambda: self.store.batch(batch_id))
        if batch.state == "validating":
            found = await self.blocking(lambda: self._take_in(batch))
            if found:
                self.changes.tell(batch_id)
        batch = await self.blocking(lambda: self.store.batch(batch_id))
        return batch.state == "in_progress"

    async def work_through(self, batch_id: str) -> None:
        """Have all requests answered, or given up when the batch's time is over."""
        batch = await self.blocking(lambda: self.store.batch(batch_id))
        if batch.state != "in_progress" or batch_id in self.cancelled:
            return
        left_s = max(0.0, batch.expires_at - time.time())
        stop = asyncio.get_running_loop().call_later(left_s, self.dispatcher.stop_batch, batch_id)
        try:
            await self.dispatcher.work_through(batch, self.files.path(batch.input_file))
        finally:
            stop.cancel()

    async def finish(self, batch_id: str) -> str:
        """Write the results; the state in which the batch ends."""
        state = await self.blocking(lambda: self._finish(batch_id))
        self.cancelled.discard(batch_id)
        self.changes.tell(batch_id)
        log.info("%s is %s", batch_id, state)
        return state

    def _take_in(self, batch: Batch) -> Batch | None:
        path = self.files.path(batch.input_file)
        problems = take_in(self.store, batch.id, path, batch.endpoint, self.limits)
        now = int(time.time())
        if problems:
            found = [problem.as_json() for problem in problems]
            return self.store.move(batch.id, "failed", now, problems=found)
        return self.store.move(batch.id, "in_progress", now)

    def _finish(self, batch_id: str) -> str:
        now = int(time.time())
        batch = self.store.batch(batch_id)
        if batch.state == "in_progress":
            moved = self.store.move(batch_id, "finalizing", now)
            # Otherwise it was cancelled just now.
            batch = moved or self.store.batch(batch_id)
        if batch.state in FINAL:
            return batch.state
        if batch.state == "cancelling":
            end = "cancelled"
            if "in_progress" not in batch.times:
                # Its file was not read to the end.
                self.store.clear_requests(batch_id)
        else:
            end = "expired"
        self.store.give_up(batch_id, end)
        if end == "expired" and not self.store.in_states(batch_id, ("expired",), 0, 1):
            end = "completed"
        output, errors = write_results(self.store, self.files, batch, now)
        self.store.finish(batch_id, end, int(time.time()), output, errors)
        return end
