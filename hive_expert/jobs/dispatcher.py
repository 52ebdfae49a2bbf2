"""Hands the requests of all running batches to the server.

One task hands out, and each request in the engine is a task of its own. Nothing here decides who is
next (`fair_share`) or how many (`admission`), and nothing keeps answers (`recorder`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from hive_expert.errors import BudgetError
from hive_expert.jobs.batch import Batch
from hive_expert.jobs.fair_share import FairShare
from hive_expert.jobs.pipelines.runner import Answerer
from hive_expert.jobs.pipelines.step_rows import RequestKey
from hive_expert.jobs.recorder import AWAY_S, Blocking, Recorder
from hive_expert.jobs.request_rows import Answered, Pending
from hive_expert.jobs.running import Running
from hive_expert.jobs.store import Store
from hive_expert.jobs.telemetry import JobTelemetry
from hive_expert.jobs.upstream import judge
from hive_expert.serving.agents import PriorityClass
from hive_expert.serving.auth import Caller
from hive_expert.serving.ledger import Ledger

log = logging.getLogger("hive_expert.jobs")

READ_AHEAD = 256
"""Requests of one batch that are known before they are handed out."""

LOOK_S = 0.05
"""How often it is looked whether there is room again."""

FIRST_PAUSE_S = 0.5
"""Before a request is asked again; doubled each time."""

LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of a request's turn."""

    answer: Answered
    attempts: int = 1
    """How often it may be asked for a better one."""
    took_s: float | None = None
    """None: it was not asked."""


@dataclass
class Dispatcher:
    """Laws: no more requests are in the server than `room` says; none is handed out twice at the
    same time; each is counted once, with the outcome that is written down."""

    store: Store
    answerer: Answerer
    ledger: Ledger
    recorder: Recorder
    room: Callable[[int], int]
    """Requests of batches in the server → how many there may be now."""
    draining: Callable[[], bool]
    blocking: Blocking
    telemetry: JobTelemetry
    running: dict[str, Running] = field(default_factory=dict)
    in_server: int = 0
    _fair: FairShare = field(init=False)
    _work: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._fair = FairShare(lambda agent: self.ledger.agents.of(agent).weight)

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._hand_out()),
            asyncio.create_task(self.recorder.run()),
        ]

    async def stop(self) -> None:
        """Hand out nothing more; what is in the server is asked again by the next process."""
        tasks = [*self._tasks, *(t for r in self.running.values() for t in r.tasks)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.recorder.end()

    async def work_through(self, batch: Batch, path: Path) -> None:
        """Have all requests of a batch answered; returns too when it is stopped."""
        counts = batch.counts
        left = counts.total - counts.done - counts.failed
        running = self.running[batch.id] = Running(batch, path, left)
        try:
            self._work.set()
            await running.over.wait()
        finally:
            del self.running[batch.id]

    def stop_batch(self, batch_id: str) -> None:
        """Take a batch's requests back: those in the server are broken off."""
        running = self.running.get(batch_id)
        if running is not None:
            running.stopped = True
            running.ready.clear()
            for task in running.tasks:
                task.cancel()
            running.look()

    def waiting(self) -> dict[str, int]:
        """Class → how many requests of the batches that are worked on wait for their turn. Any
        thread may ask."""
        counts = {c.word: 0 for c in PriorityClass}
        for running in list(self.running.values()):
            counts[self._urgency(running).word] += running.waiting
        return counts

    # Handing out

    async def _hand_out(self) -> None:
        while True:
            self._work.clear()
            await self._read_ahead()
            while self._may_start() and (running := self._next()) is not None:
                self._start(running)
                await asyncio.sleep(0)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if self._has_ready() else None):
                    await self._work.wait()

    def _may_start(self) -> bool:
        return (
            not self.draining()
            and not self.recorder.full
            and self.in_server < self.room(self.in_server)
        )

    def _has_ready(self) -> bool:
        return any(running.ready for running in self.running.values())

    def _next(self) -> Running | None:
        """The batch that is next: of the most urgent class, a fair agent's, its oldest."""
        ready = [running for running in self.running.values() if running.ready]
        if not ready:
            return None
        most = min(map(self._urgency, ready))
        ready = [running for running in ready if self._urgency(running) is most]
        agent = self._fair.next_of({running.agent for running in ready})
        own = [running for running in ready if running.agent == agent]
        return min(own, key=lambda running: running.batch.created_at)

    def _urgency(self, running: Running) -> PriorityClass:
        return self.ledger.agents.of(running.agent).batches

    def _start(self, running: Running) -> None:
        pending, attempts = running.ready.popleft()
        running.unsettled += 1
        self.in_server += 1
        charged = self._fair.start(running.agent)
        task = asyncio.create_task(self._ask(running, pending, attempts, charged))
        running.tasks.add(task)
        task.add_done_callback(running.tasks.discard)
        if not running.ready and not running.all_known:
            self._work.set()

    async def _ask(self, running: Running, pending: Pending, attempts: int, charged: float) -> None:
        tokens = 0
        waited = max(0.0, time.time() - running.batch.created_at)
        try:
            try:
                outcome = await self._answer(running, pending)
                answer = outcome.answer
                tokens = answer.prompt_tokens + answer.completion_tokens
            finally:
                self.in_server -= 1
                self._fair.end(running.agent, charged, tokens)
                self._work.set()
            allowed = outcome.attempts
            if allowed > 1 and (self.draining() or attempts + 1 < allowed):
                self.telemetry.retried(running.agent)
                await asyncio.sleep(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempts))
                running.unsettled -= 1
                running.ready.append((pending, attempts + 1))
                self._work.set()
                return
            self.telemetry.answered(running.agent, answer, waited, outcome.took_s)
            self.recorder.add(answer, partial(self._written, running))
        except asyncio.CancelledError:
            running.unsettled -= 1
            raise

    def _written(self, running: Running) -> None:
        running.settle()
        self._work.set()

    async def _answer(self, running: Running, pending: Pending) -> _Outcome:
        caller = Caller(running.agent or None, admin=False, job=self._urgency(running))
        try:
            self.ledger.require_left(caller.tenant)
        except BudgetError as error:
            return _unasked(running, pending, "budget_exceeded", str(error.problems[0]))
        body = _body(running.input, pending)
        if body is None:
            what = "The line in the input file cannot be read, or is no longer what it was."
            return _unasked(running, pending, "input_changed", what)
        started = time.monotonic()
        key = RequestKey(running.batch.id, pending.custom_id)
        reply = await self.answerer.ask(running.batch.endpoint, body, caller, key)
        seen = judge(reply)
        answer = Answered(
            running.batch.id,
            pending.line,
            pending.custom_id,
            seen.state,
            reply.status,
            seen.answer,
            seen.prompt_tokens,
            seen.completion_tokens,
        )
        return _Outcome(answer, reply.attempts, time.monotonic() - started)

    async def _read_ahead(self) -> None:
        """Know at least one request of every batch that has more."""
        for running in list(self.running.values()):
            if running.ready or running.all_known or running.stopped:
                continue
            batch_id, line = running.batch.id, running.known_to
            try:
                found = await self.blocking(partial(self.store.pending, batch_id, line, READ_AHEAD))
            except SQLAlchemyError as error:
                log.error("requests cannot be read: %s", type(error).__name__)
                await asyncio.sleep(AWAY_S)
                self._work.set()
                return
            if running.stopped:
                continue
            running.ready.extend((pending, 0) for pending in found)
            running.all_known = len(found) < READ_AHEAD
            if found:
                running.known_to = found[-1].line
            running.look()


def _unasked(running: Running, pending: Pending, code: str, message: str) -> _Outcome:
    answer = json.dumps({"code": code, "message": message}, ensure_ascii=False)
    return _Outcome(
        Answered(running.batch.id, pending.line, pending.custom_id, "failed", 0, answer)
    )


def _body(path: Path, pending: Pending) -> bytes | None:
    """A request's body, from its line in the input file; None if that is another line now, or
    cannot be read."""
    try:
        with path.open("rb") as file:
            raw = os.pread(file.fileno(), pending.length, pending.start)
        line = json.loads(raw)
    except (OSError, ValueError):
        return None
    if not isinstance(line, dict) or line.get("custom_id") != pending.custom_id:
        return None
    return json.dumps(line["body"], ensure_ascii=False).encode()
