"""The durable workflow of a batch, on DBOS: three steps, each of which may be done twice.

A killed server's workflows go on at the next start with the step they were in. DBOS runs in threads
and an event loop of its own, so that what it does never holds up an answer; the steps themselves
run where the server does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from dbos import DBOS, DBOSPortableJSONSerializer, SetEnqueueOptions, SetWorkflowID

from hive_expert.jobs.batch import Batch

QUEUE = "hive_batches"
AT_ONCE = 4
"""Batches of one agent that are worked on together; its others wait in their order."""
AT_ONCE_OF_ALL = 64

_DONE = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")

T = TypeVar("T")


class Steps(Protocol):
    """What a workflow does, in this order; `service` has it."""

    async def take_in(self, batch_id: str) -> bool:
        """Read the input file; whether there are requests to answer."""

    async def work_through(self, batch_id: str) -> None:
        """Have all requests answered, or given up."""

    async def finish(self, batch_id: str) -> str:
        """Write the results; the state in which the batch ends."""


class Workflows:
    """DBOS, with the one workflow there is."""

    def __init__(self, url: str, steps: Steps, *, poll_s: float = 1.0) -> None:
        """``url``: of the database, in which DBOS makes its own tables."""
        self._url = url
        self._steps = steps
        self._poll_s = poll_s
        self._loop = asyncio.get_running_loop()
        self._run: Any = None

    def launch(self) -> None:
        """Start DBOS, which takes up what was not done. Blocks; not in the server's event loop,
        which DBOS would make its own."""
        # What DBOS pickles by default is text here: a database is no place for code.
        DBOS(
            config={
                "name": "hive-jobs",
                "system_database_url": self._url,
                # The steps stay compatible from version to version; their workflows must go on.
                "application_version": "1",
                "executor_id": "hive",
                "serializer": DBOSPortableJSONSerializer(),
                "log_level": "ERROR",
                "notification_listener_polling_interval_sec": self._poll_s,
            }
        )
        self._run = self._register()
        DBOS.launch()
        DBOS.register_queue(
            QUEUE,
            worker_concurrency=AT_ONCE_OF_ALL,
            partition_worker_concurrency=AT_ONCE,
            polling_interval_sec=self._poll_s,
            on_conflict="always_update",
        )

    def close(self) -> None:
        """Stop DBOS; what is not done stays to be done. Blocks."""
        DBOS.destroy(destroy_registry=True)

    def enqueue(self, batch: Batch) -> None:
        """Have a batch worked through; once, however often it is said. Blocks."""
        with (
            SetWorkflowID(batch.workflow),
            SetEnqueueOptions(queue_partition_key=f"agent:{batch.agent}"),
        ):
            DBOS.enqueue_workflow(QUEUE, self._run, batch.id)

    def is_lost(self, batch: Batch) -> bool:
        """Whether nothing will happen to a batch that is not done. Blocks."""
        status = DBOS.get_workflow_status(batch.workflow)
        return status is None or status.status in _DONE

    def take_back(self, batch: Batch) -> bool:
        """Have a batch that still waits for its turn not worked through. Blocks."""
        status = DBOS.get_workflow_status(batch.workflow)
        if status is None or status.status != "ENQUEUED":
            return False
        DBOS.cancel_workflow(batch.workflow)
        return True

    def forget(self, batch: Batch) -> None:
        """Delete what DBOS knows of a batch. Blocks."""
        if DBOS.get_workflow_status(batch.workflow) is not None:
            DBOS.delete_workflow(batch.workflow)

    def _register(self) -> Any:
        steps, here = self._steps, self._here

        @DBOS.step(name="hive_take_in")
        async def take_in(batch_id: str) -> bool:
            return await here(lambda: steps.take_in(batch_id))

        @DBOS.step(name="hive_work_through")
        async def work_through(batch_id: str) -> None:
            await here(lambda: steps.work_through(batch_id))

        @DBOS.step(name="hive_finish")
        async def finish(batch_id: str) -> str:
            return await here(lambda: steps.finish(batch_id))

        # A server may be killed any number of times.
        @DBOS.workflow(name="hive_batch", max_recovery_attempts=None)
        async def run_batch(batch_id: str) -> str:
            if await take_in(batch_id):
                await work_through(batch_id)
            return await finish(batch_id)

        return run_batch

    async def _here(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a step in the server's event loop, and wait for it in DBOS's."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(start(), self._loop))
