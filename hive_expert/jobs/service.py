"""Jobs of one running server: what its routes ask for, and what keeps all of it going."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry
from sqlalchemy.exc import SQLAlchemyError

from hive_expert.errors import HiveError, JobError, Problem
from hive_expert.jobs.admission import Room
from hive_expert.jobs.batch import FINAL, Batch, File, Order
from hive_expert.jobs.changes import Changes
from hive_expert.jobs.dispatcher import Dispatcher
from hive_expert.jobs.files import Files, new_id
from hive_expert.jobs.lease import Lease
from hive_expert.jobs.limits import JobLimits
from hive_expert.jobs.pipelines.chain_limit import ChainLimit, no_limit
from hive_expert.jobs.pipelines.checks import Checker
from hive_expert.jobs.pipelines.runner import Runner
from hive_expert.jobs.recorder import Recorder
from hive_expert.jobs.steps import BatchSteps
from hive_expert.jobs.store import Store
from hive_expert.jobs.tables import open_database
from hive_expert.jobs.telemetry import JobCollector, JobSnapshot, JobTelemetry
from hive_expert.jobs.upstream import Upstream
from hive_expert.jobs.workflows import Workflows
from hive_expert.serving.guard import Door

log = logging.getLogger("hive_expert.jobs")

T = TypeVar("T")

SWEEP_S = 60.0
COUNT_S = 1.0
RETRIED = ("failed", "expired", "cancelled")
"""States of requests that a retry asks again."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """The user's decisions about jobs."""

    folder: Path
    """Of files, and of the database unless there is another."""
    room: Room = field(default_factory=Room)
    database: str | None = None
    """URL of a PostgreSQL database; None: SQLite in the folder."""
    limits: JobLimits = field(default_factory=JobLimits)
    poll_s: float = 1.0
    """How often DBOS looks for batches that wait."""

    @property
    def url(self) -> str:
        return self.database or f"sqlite:///{self.folder.absolute() / 'jobs.sqlite'}"


class Jobs:
    """See the package's docstring for the life of a batch."""

    def __init__(
        self,
        settings: JobSettings,
        door: Door,
        upstream: Upstream,
        registry: CollectorRegistry,
        chain_limit: ChainLimit = no_limit,
    ) -> None:
        self.settings = settings
        self.files = Files(settings.folder / "files")
        self.changes = Changes()
        self.uploads = asyncio.Semaphore(settings.limits.uploads)
        self._door = door
        self._upstream = upstream
        self._chain_limit = chain_limit
        self._checker = Checker()
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="hive-jobs")
        self._lease = Lease(settings.folder)
        self._telemetry = JobTelemetry(registry)
        self._registry = registry
        self._states: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take up what an earlier process left.

        Raises:
            UsageError: the database cannot be used.
            NoJobsError: another server of this user keeps these jobs.
        """
        await self.blocking(self._open)
        self.dispatcher = Dispatcher(
            store=self.store,
            answerer=Runner(
                self._upstream,
                self.store,
                self.blocking,
                self._checker,
                self._telemetry,
                self._chain_limit,
            ),
            ledger=self._door.ledger,
            recorder=Recorder(self.store, self._door.ledger, self.blocking, self.changes),
            room=self._room,
            draining=lambda: self._door.traffic.draining,
            blocking=self.blocking,
            telemetry=self._telemetry,
        )
        self.steps = BatchSteps(
            store=self.store,
            files=self.files,
            limits=self.settings.limits,
            dispatcher=self.dispatcher,
            blocking=self.blocking,
            changes=self.changes,
        )
        self.workflows = Workflows(self.settings.url, self.steps, poll_s=self.settings.poll_s)
        self.dispatcher.start()
        await self.blocking(self.workflows.launch)
        await self._take_up_lost(older_than=0)
        self._registry.register(JobCollector(self._snapshot))
        self._tasks = [
            asyncio.create_task(self._look_after()),
            asyncio.create_task(self._count()),
        ]

    async def stop(self) -> None:
        """Let go of everything; nothing of it is lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.dispatcher.stop()
        await self._checker.close()
        await self.blocking(self.workflows.close)
        self._threads.shutdown()
        self._lease.release()
        self._engine.dispose()

    async def blocking(self, function: Callable[[], T]) -> T:
        """Call a function that blocks, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    # What routes ask for

    async def make(self, order: Order, agent: str) -> Batch:
        """A new batch. Raises as `Store.add_batch`."""
        now = int(time.time())
        batch = Batch(
            id=new_id("batch_"),
            agent=agent,
            endpoint=order.endpoint,
            input_file=order.input_file,
            window=order.window,
            created_at=now,
            expires_at=now + order.seconds,
            metadata=order.metadata,
            output_seconds=order.output_seconds,
        )
        self._door.ledger.require_left(agent or None)
        most = self.settings.limits.open_batches
        await self.blocking(lambda: self.store.add_batch(batch, most_open=most))
        await self.blocking(lambda: self.workflows.enqueue(batch))
        self.changes.tell(batch.id)
        return batch

    async def cancel(self, batch_id: str, agent: str) -> Batch:
        """Break a batch off. One that is done already stays as it is.

        Raises:
            UnknownJobError: the agent has no such batch.
        """
        batch = await self.blocking(lambda: self.store.batch(batch_id, agent))
        if batch.state in FINAL:
            return batch
        self.steps.cancelled.add(batch_id)
        await self.blocking(lambda: self.store.move(batch_id, "cancelling", int(time.time())))
        self.dispatcher.stop_batch(batch_id)
        self.changes.tell(batch_id)
        # One that waits for its turn need not wait for its end.
        if await self.blocking(lambda: self.workflows.take_back(batch)):
            await self.steps.finish(batch_id)
        return await self.blocking(lambda: self.store.batch(batch_id, agent))

    async def retry(self, batch_id: str, agent: str) -> Batch:
        """A new batch of those requests of another that have no result.

        Raises:
            UnknownJobError: the agent has no such batch.
            JobError: it is not done, or all its requests have a result, or its file is gone.
        """
        old = await self.blocking(lambda: self.store.batch(batch_id, agent))
        if old.state not in FINAL or old.state == "failed":
            raise JobError(
                Problem("", f"{batch_id} is {old.state}", "nothing of it can be retried")
            )
        file = await self.blocking(lambda: self._unanswered_of(old))
        order = Order(
            file.id,
            old.endpoint,
            old.window,
            old.expires_at - old.created_at,
            {**old.metadata, "retry_of": old.id},
            old.output_seconds,
        )
        return await self.make(order, agent)

    async def remove(self, batch_id: str, agent: str) -> None:
        """Forget a batch that is done, with its output. Raises as `Store.remove_batch`."""
        batch = await self.blocking(lambda: self.store.remove_batch(batch_id, agent))
        self.steps.cancelled.discard(batch_id)
        for file_id in (batch.output_file, batch.error_file):
            if file_id is not None:
                await self.blocking(partial(self.files.remove, file_id))
        await self.blocking(lambda: self.workflows.forget(batch))

    async def remove_file(self, file_id: str, agent: str) -> None:
        """Delete a file. Raises as `Store.remove_file`."""
        await self.blocking(lambda: self.store.remove_file(file_id, agent))
        await self.blocking(lambda: self.files.remove(file_id))

    # Behind the scenes

    def _open(self) -> None:
        self.settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lease.take_folder()
        self._engine = open_database(self.settings.url)
        self._lease.take_database(self._engine)
        self.store = Store(self._engine)
        swept = self.files.sweep(self.store.all_file_ids())
        if swept:
            log.info("removed %d files that a stopped server had begun", swept)
        self._door.ledger.restore(self.store.spent())
        self._states = self.store.states()

    def _room(self, in_server: int) -> int:
        direct = max(0, self._door.traffic.present - in_server)
        return self.settings.room.for_jobs(direct)

    def _unanswered_of(self, old: Batch) -> File:
        """A new file of the lines of a batch that have no result."""
        file_id, line = new_id("file-"), 0
        source = self.files.path(old.input_file)
        if not source.exists():
            raise JobError(Problem("", f"{old.input_file} is deleted", "upload it again"))
        with self.files.writing(file_id) as out, source.open("rb") as lines:
            while found := self.store.in_states(old.id, RETRIED, line, 1000):
                for request in found:
                    lines.seek(request.start)
                    out.write(lines.read(request.length).rstrip(b"\r\n") + b"\n")
                line = found[-1].line
            size = out.tell()
        if not size:
            self.files.remove(file_id)
            raise JobError(Problem("", f"every request of {old.id} has a result"))
        name = f"retry_of_{old.id}.jsonl"
        file = File(file_id, old.agent, name, "batch", size, int(time.time()))
        self.store.add_file(file)
        return file

    async def _take_up_lost(self, older_than: float) -> None:
        """Begin the workflows anew of batches that nothing will happen to.

        A server that is killed between the note of a batch and its workflow leaves such a batch, or
        a workflow that failed since the database was away.
        """

        def take_up() -> None:
            for batch in self.store.open_batches():
                old = time.time() - batch.created_at >= older_than
                if (
                    old
                    and batch.id not in self.dispatcher.running
                    and self.workflows.is_lost(batch)
                ):
                    log.info("%s: taken up again", batch.id)
                    self.workflows.enqueue(self.store.begin_anew(batch.id))

        await self.blocking(take_up)

    async def _look_after(self) -> None:
        """Delete what has expired, take up what was lost."""
        while True:
            try:
                for file_id in await self.blocking(
                    lambda: self.store.remove_expired_files(int(time.time()))
                ):
                    await self.blocking(partial(self.files.remove, file_id))
                await self._take_up_lost(older_than=2 * SWEEP_S)
            except (SQLAlchemyError, OSError, HiveError) as error:
                log.error("looking after jobs: %s", type(error).__name__)
            await asyncio.sleep(SWEEP_S)

    async def _count(self) -> None:
        """Count batches by their states, when something has changed."""
        counted = -1
        while True:
            if counted != self.changes.told:
                counted = self.changes.told
                try:
                    self._states = await self.blocking(self.store.states)
                except SQLAlchemyError as error:
                    log.error("counting batches: %s", type(error).__name__)
            await asyncio.sleep(COUNT_S)

    def _snapshot(self) -> JobSnapshot:
        ledger = self._door.ledger
        return JobSnapshot(
            agents=tuple(ledger.accounts()),
            batches=self._states,
            waiting=self.dispatcher.waiting(),
            in_server=self.dispatcher.in_server,
            room=self._room(self.dispatcher.in_server),
        )
