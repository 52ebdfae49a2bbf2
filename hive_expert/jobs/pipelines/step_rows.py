"""Answers of finished steps, as long as their batch is at work."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, exists, insert, literal, select
from sqlalchemy.exc import IntegrityError

from hive_expert.jobs.batch import OPEN
from hive_expert.jobs.rows import Rows
from hive_expert.jobs.tables import BATCHES, STEPS


@dataclass(frozen=True, slots=True)
class RequestKey:
    """One request of one batch."""

    batch: str
    custom_id: str


@dataclass(frozen=True, slots=True)
class StepAnswer:
    """What came of one step."""

    step: str
    output: str
    model: str = ""
    """Who answered, as the server calls it."""
    experts: str = ""
    """`NAME@VERSION` of the experts in it; empty: the base."""
    route: str = ""
    """Of `auto`: why."""
    validation: str = ""
    attempts: int = 1
    prompt_tokens: int = 0
    """Of all attempts."""
    completion_tokens: int = 0


class StepRows(Rows):
    """The table of finished steps. Law: a step that has an answer keeps it."""

    def step_answers(self, key: RequestKey) -> dict[str, StepAnswer]:
        """The answers of a document's finished steps, by their step."""
        here = (STEPS.c.batch == key.batch, STEPS.c.custom_id == key.custom_id)
        with self.engine.connect() as connection:
            rows = connection.execute(select(STEPS.c.step, STEPS.c.answer).where(*here))
            return {step: StepAnswer(**json.loads(answer)) for step, answer in rows}

    def add_step(self, key: RequestKey, answer: StepAnswer) -> None:
        """Write an answer down, if it is its step's first and its batch is at work."""
        row = (key.batch, key.custom_id, answer.step, json.dumps(asdict(answer)))
        at_work = exists().where(BATCHES.c.id == key.batch, BATCHES.c.state.in_(OPEN))
        columns = [column.name for column in STEPS.columns]
        chosen = select(*(literal(value) for value in row)).where(at_work)
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(STEPS).from_select(columns, chosen))
        except IntegrityError:
            return


def forget_steps(connection: Connection, batch_id: str) -> None:
    """Delete those of a batch whose documents have their results."""
    connection.execute(delete(STEPS).where(STEPS.c.batch == batch_id))
