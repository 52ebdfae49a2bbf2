"""Writes answers down: all of a moment in one transaction, with the tokens they have cost."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from hive_expert.jobs.changes import Changes
from hive_expert.jobs.request_rows import Answered
from hive_expert.jobs.store import Store
from hive_expert.serving.ledger import Ledger

log = logging.getLogger("hive_expert.jobs")

T = TypeVar("T")

GROUPING_S = 0.02
"""How long answers are collected for one transaction."""

AWAY_S = 1.0
"""Before a database is asked again that could not be."""

MOST_UNWRITTEN = 2000
"""Answers that wait for the database: beyond that there should come no more."""

SAVE_S = 5.0
"""How often tokens are saved that no batch has cost."""


class Blocking(Protocol):
    """Calls a function that blocks, in a thread."""

    async def __call__(self, function: Callable[[], T], /) -> T: ...


@dataclass
class Recorder:
    """Law: an answer that was added is written down, or the process ends; what its request cost is
    saved no later than the answer."""

    store: Store
    ledger: Ledger
    blocking: Blocking
    changes: Changes
    _waiting: deque[tuple[Answered, Callable[[], None]]] = field(default_factory=deque)
    _some: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def full(self) -> bool:
        return len(self._waiting) >= MOST_UNWRITTEN

    def add(self, answer: Answered, written: Callable[[], None]) -> None:
        """Have an answer written down; `written` is called then."""
        self._waiting.append((answer, written))
        self._some.set()

    async def run(self) -> None:
        """Write answers down as they come, and tokens now and then, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(SAVE_S):
                    await self._some.wait()
            except TimeoutError:
                await self._save_tokens()
                continue
            await asyncio.sleep(GROUPING_S)
            self._some.clear()
            taken = list(self._waiting)
            await self._record([answer for answer, _ in taken])
            for _, written in taken:
                self._waiting.popleft()
                written()
            for batch_id in {answer.batch for answer, _ in taken}:
                self.changes.tell(batch_id)

    async def end(self) -> None:
        """Write down what is left, once, after `run` was cancelled."""
        spent = self.ledger.take_unsaved()
        answers = [answer for answer, _ in self._waiting]
        if answers or spent:
            try:
                await self.blocking(lambda: self.store.record(answers, spent))
            except SQLAlchemyError as error:
                # Those requests are asked again by the next process.
                log.error("the last answers are not written down: %s", type(error).__name__)

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

    async def _save_tokens(self) -> None:
        spent = self.ledger.take_unsaved()
        if not spent:
            return
        try:
            await self.blocking(lambda: self.store.record([], spent))
        except SQLAlchemyError as error:
            log.error("spent tokens cannot be saved: %s", type(error).__name__)
            self.ledger.give_back(spent)
