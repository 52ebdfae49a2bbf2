"""Scoring where the cases are a stranger's: in a child that is killed when one takes too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from hive_expert.decoding.child import Child, ChildError
from hive_expert.errors import Problem, UnfinishedError
from hive_expert.training.cases import TestCase
from hive_expert.training.scoring import CaseScore

LIMIT_S = 10.0
"""Of the processor, for one answer; a query has two seconds."""


@dataclass(frozen=True, slots=True)
class ScoringApart:
    """Scores answers until ``deadline`` (monotonic).

    Law: what it returns for an answer that :func:`score_case` scores within the limit is the same.
    """

    deadline: float

    def __call__(self, answers: Sequence[tuple[TestCase, str]]) -> list[CaseScore]:
        """A score for each answer; one that cannot be scored within the limit is worth nothing.

        Raises UnfinishedError when the deadline has passed.
        """
        return asyncio.run(self._score_all(answers))

    async def _score_all(self, answers: Sequence[tuple[TestCase, str]]) -> list[CaseScore]:
        child = Child("hive_expert.training.score_child")
        try:
            return [await self._score(child, case, answer) for case, answer in answers]
        finally:
            await child.close()

    async def _score(self, child: Child, case: TestCase, answer: str) -> CaseScore:
        if time.monotonic() > self.deadline:
            raise UnfinishedError(Problem(f"case {case.id}", "there was no time left to score it"))
        try:
            message = {"case": asdict(case), "answer": answer}
            return CaseScore(**await child.ask(message, limit_s=LIMIT_S))
        except ChildError as failure:
            return CaseScore(False, False, False, f"it could not be scored: {failure}")
