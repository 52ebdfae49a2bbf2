"""Jobs of one running server: what its routes ask for, and what keeps all of it going."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry
from sqlalchemy.exc import SQLAlchemyError

from hive_expert.errors import HiveError, JobError, NoJobsError, Problem
from hive_expert.jobs.admission import Room
from hive_expert.jobs.batch import FINAL, Batch, File, Order
from hive_expert.jobs.belonging import foreign
from hive_expert.jobs.changes import Changes
from hive_expert.jobs.dispatcher import Dispatcher
from hive_expert.jobs.files import Files, new_id
from hive_expert.jobs.lease import Lease
from hive_expert.jobs.limits import JobLimits
from hive_expert.jobs.pipelines.chain_limit import ChainLimit, no_limit
from hive_expert.jobs.pipelines.checks import Checker
from hive_expert.jobs.pipelines.runner import Runner
from hive_expert.jobs.places import Places
from hive_expert.jobs.recorder import Recorder
from hive_expert.jobs.retry import write_unanswered
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


@dataclass(frozen=True, slots=True)
class JobSettings:
    """The user's decisions about jobs."""

    folder: Path
    """Of files, and of the database unless there is another."""
    room: Room = field(default_factory=Room)
    database: str | None = None
    """URL of another database; None: SQLite in the folder."""
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
        self.room = settings.room
        """Replaced whole, where engines come and go."""
        self.files = Files(settings.folder / "files")
        self.changes = Changes()
        limits = settings.limits
        self.uploads = Places(limits.uploads, limits.agent_uploads)
        self.streams = Places(limits.streams, limits.agent_streams)
        self._door = door
        self._upstream = upstream
        self._chain_limit = chain_limit
        self._checker = Checker()
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="hive-jobs")
        self._lease = Lease(settings.folder)
        self._telemetry = JobTelemetry(registry)
        self._registry = registry
        self._states: dict[str, int] = {}
        self.lost: NoJobsError | None = None
        """Why these jobs are another server's since a while; None: they are this one's."""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take up what an earlier process left.

        Raises:
            UsageError: the database cannot be used.
            NoJobsError: another server of this user keeps these jobs; it can be tried again.
        """
        try:
            await self.blocking(self._open)
        except NoJobsError:
            self._lease.release()
            raise
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
        await self._stop_work()
        await self._checker.close()
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
            JobError: it is not done, or all its requests have a result, or its file is gone, or
                the agent has no room for another file or batch.
            BudgetError: the agent's tokens are used up.
        """
        old = await self.blocking(lambda: self.store.batch(batch_id, agent))
        if old.state not in FINAL or old.state == "failed":
            raise JobError(
                Problem("", f"{batch_id} is {old.state}", "nothing of it can be retried")
            )
        self._door.ledger.require_left(agent or None)
        file = await self.blocking(lambda: self._unanswered_of(old))
        order = Order(
            file.id,
            old.endpoint,
            old.window,
            old.expires_at - old.created_at,
            {**old.metadata, "retry_of": old.id},
            old.output_seconds,
        )
        try:
            return await self.make(order, agent)
        except (HiveError, SQLAlchemyError):
            # Unless the batch is there, and only its workflow is not: that is taken up later.
            with suppress(HiveError, SQLAlchemyError):
                await self.remove_file(file.id, agent)
            raise

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

    def room_for_file(self, agent: str) -> int:
        """How many bytes an agent's next file may have. Blocks.

        Raises:
            JobError: the agent has too many files.
        """
        limits = self.settings.limits
        count, stored = self.store.stored(agent)
        if count >= limits.files:
            raise JobError(Problem("file", f"there are {count} files already", "delete some"))
        return max(0, limits.stored_bytes - stored)

    # Behind the scenes

    def _open(self) -> None:
        self.settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lease.take_folder()
        self._engine = open_database(self.settings.url)
        self._lease.take_database(self._engine)
        self.store = Store(self._engine)
        self._sweep()
        self._door.ledger.restore(self.store.spent())
        self._states = self.store.states()

    def _sweep(self) -> None:
        """Remove what a stopped server had begun, and nothing that another database knows."""
        known = self.store.all_file_ids()
        stranger = foreign(self.settings.folder, self.files, self.store)
        if stranger is not None:
            log.warning("%s", stranger)
            known = self.files.all_ids()
        swept = self.files.sweep(known)
        if swept:
            log.info("removed %d files that a stopped server had begun", swept)

    def _room(self, in_server: int) -> int:
        direct = max(0, self._door.traffic.present - in_server)
        return self.room.for_jobs(direct)

    def _unanswered_of(self, old: Batch) -> File:
        self.store.require_few_open(old.agent, self.settings.limits.open_batches)
        return write_unanswered(self.store, self.files, old, self.room_for_file(old.agent))

    async def _stop_work(self) -> None:
        """Hand nothing out any more, and take nothing up. It can be done again."""
        await self.dispatcher.stop()
        await self.blocking(self.workflows.close)

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

    async def _expire(self) -> None:
        """End the batches whose time was over before their turn came.

        Their files are read first: each of their requests has its line in the error file.
        """
        for batch in await self.blocking(self.store.open_batches):
            if batch.expires_at > time.time():
                continue
            if await self.blocking(partial(self.workflows.take_back, batch)):
                await self.steps.take_in(batch.id)
                await self.steps.finish(batch.id)

    async def _look_after(self) -> None:
        """Delete what has expired, take up what was lost, as long as these are our jobs."""
        while True:
            try:
                await self.blocking(lambda: self._lease.keep(self._engine))
                for file_id in await self.blocking(
                    lambda: self.store.remove_expired_files(int(time.time()))
                ):
                    await self.blocking(partial(self.files.remove, file_id))
                await self._take_up_lost(older_than=2 * SWEEP_S)
                await self._expire()
            except NoJobsError as error:
                log.error("no batches here any more: %s", error)
                self.lost = error
                await self._stop_work()
                return
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
