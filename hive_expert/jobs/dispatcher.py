"""Hands the requests of all running batches to the server, and keeps their answers.

One task hands out, one writes answers down, and each request in the engine is a task of its own.
Nothing here decides who is next (`fair_share`) or how many (`admission`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from hive_expert.errors import BudgetError
from hive_expert.jobs.batch import Batch
from hive_expert.jobs.changes import Changes
from hive_expert.jobs.fair_share import FairShare
from hive_expert.jobs.store import Answered, Pending, Store
from hive_expert.jobs.telemetry import JobTelemetry
from hive_expert.jobs.upstream import Upstream, judge
from hive_expert.serving.agents import Agents, PriorityClass
from hive_expert.serving.auth import Caller
from hive_expert.serving.ledger import Ledger

log = logging.getLogger("hive_expert.jobs")

T = TypeVar("T")


class Blocking(Protocol):
    """Calls a function that blocks, in a thread."""

    async def __call__(self, function: Callable[[], T], /) -> T: ...


READ_AHEAD = 256
"""Requests of one batch that are known before they are handed out."""

GROUPING_S = 0.02
"""How long answers are collected for one transaction."""

LOOK_S = 0.05
"""How often it is looked whether there is room again."""

FIRST_PAUSE_S = 0.5
"""Before a request is asked again; doubled each time."""

LONGEST_PAUSE_S = 30.0

AWAY_S = 1.0
"""Before the database is asked again that could not be."""

MOST_UNWRITTEN = 2000
"""Answers that wait for the database: beyond that nothing is handed out."""


@dataclass
class Running:
    """A batch whose requests are handed out."""

    batch: Batch
    input: Path
    caller: Caller
    agent: str
    ready: deque[tuple[Pending, int]] = field(default_factory=deque)
    """Requests and how often each was asked."""
    known_to: int = 0
    """The last line that was read."""
    all_known: bool = False
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    unsettled: int = 0
    """Handed out, and not written down yet or waiting to be asked again."""
    since: float = field(default_factory=time.monotonic)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: bool = False

    @property
    def urgency(self) -> PriorityClass:
        assert self.caller.job is not None
        return self.caller.job

    def look(self) -> None:
        """Whether all of it is answered."""
        if self.stopped or (self.all_known and not self.ready and not self.unsettled):
            self.over.set()


@dataclass
class Dispatcher:
    """Law: no more requests are in the server than `room` says, and none is handed out twice at
    the same time."""

    store: Store
    upstream: Upstream
    agents: Agents
    ledger: Ledger
    room: Callable[[int], int]
    """Requests of batches in the server → how many there may be now."""
    draining: Callable[[], bool]
    blocking: Blocking
    changes: Changes
    telemetry: JobTelemetry
    running: dict[str, Running] = field(default_factory=dict)
    in_server: int = 0
    _fair: FairShare = field(init=False)
    _work: asyncio.Event = field(default_factory=asyncio.Event)
    _answers: deque[tuple[Running, Answered]] = field(default_factory=deque)
    _answered: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._fair = FairShare(lambda agent: self.agents.of(agent).weight)

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._hand_out()),
            asyncio.create_task(self._write_down()),
        ]

    async def stop(self) -> None:
        """Hand out nothing more; what is in the server is asked again by the next process."""
        tasks = [*self._tasks, *(t for r in self.running.values() for t in r.tasks)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._answers:
            await self._record([answer for _, answer in self._answers])

    async def work_through(self, batch: Batch, path: Path) -> None:
        """Have all requests of a batch answered; returns too when it is stopped."""
        agent = self.agents.of(batch.agent)
        caller = Caller(batch.agent or None, admin=False, job=agent.batches)
        running = Running(batch, path, caller, batch.agent)
        self.running[batch.id] = running
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
        """Class → how many known requests of batches are not in the server."""
        counts = {c.word: 0 for c in PriorityClass}
        for running in self.running.values():
            counts[running.urgency.word] += len(running.ready)
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
            and len(self._answers) < MOST_UNWRITTEN
            and self.in_server < self.room(self.in_server)
        )

    def _has_ready(self) -> bool:
        return any(running.ready for running in self.running.values())

    def _next(self) -> Running | None:
        """The batch that is next: of the most urgent class, a fair agent's, its oldest."""
        ready = [running for running in self.running.values() if running.ready]
        if not ready:
            return None
        most = min(running.urgency for running in ready)
        ready = [running for running in ready if running.urgency is most]
        agent = self._fair.next_of({running.agent for running in ready})
        own = [running for running in ready if running.agent == agent]
        return min(own, key=lambda running: running.batch.created_at)

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
        try:
            try:
                answer, allowed = await self._answer(running, pending)
                tokens = answer.prompt_tokens + answer.completion_tokens
            finally:
                self.in_server -= 1
                self._fair.end(running.agent, charged, tokens)
                self._work.set()
            if allowed > 1 and (self.draining() or attempts + 1 < allowed):
                self.telemetry.retried(running.agent)
                await asyncio.sleep(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempts))
                running.unsettled -= 1
                running.ready.append((pending, attempts + 1))
                self._work.set()
                return
            self._answers.append((running, answer))
            self._answered.set()
        except asyncio.CancelledError:
            running.unsettled -= 1
            raise

    async def _answer(self, running: Running, pending: Pending) -> tuple[Answered, int]:
        """A request's answer, and how often it may be asked for a better one."""
        try:
            self.ledger.require_left(running.caller.tenant)
        except BudgetError as error:
            return _failed(running.batch.id, pending, "budget_exceeded", str(error.problems[0])), 1
        body = _body(running.input, pending)
        if body is None:
            what = "The line in the input file is no longer what it was."
            return _failed(running.batch.id, pending, "input_changed", what), 1
        started = time.monotonic()
        reply = await self.upstream.ask(running.batch.endpoint, body, running.caller)
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
        if reply.attempts == 1:
            waited = started - running.since
            self.telemetry.answered(running.agent, answer, waited, time.monotonic() - started)
        return answer, reply.attempts

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

    # Writing down

    async def _write_down(self) -> None:
        while True:
            await self._answered.wait()
            await asyncio.sleep(GROUPING_S)
            self._answered.clear()
            taken = list(self._answers)
            await self._record([answer for _, answer in taken])
            for running, _ in taken:
                self._answers.popleft()
                running.unsettled -= 1
                running.look()
            for batch_id in {running.batch.id for running, _ in taken}:
                self.changes.tell(batch_id)
            self._work.set()

    async def _record(self, answers: list[Answered]) -> None:
        """Write answers down; for as long as the database is away, try again."""
        spent = self.ledger.take_unsaved()
        while True:
            try:
                await self.blocking(lambda: self.store.record(answers, spent))
                break
            except SQLAlchemyError as error:
                log.error("answers cannot be written down: %s", type(error).__name__)
                await asyncio.sleep(AWAY_S)


def _failed(batch_id: str, pending: Pending, code: str, message: str) -> Answered:
    answer = json.dumps({"code": code, "message": message}, ensure_ascii=False)
    return Answered(batch_id, pending.line, pending.custom_id, "failed", 0, answer)


def _body(path: Path, pending: Pending) -> bytes | None:
    """A request's body, from its line in the input file; None if that is another line now."""
    with path.open("rb") as file:
        raw = os.pread(file.fileno(), pending.length, pending.start)
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(line, dict) or line.get("custom_id") != pending.custom_id:
        return None
    return json.dumps(line["body"], ensure_ascii=False).encode()
