"""What the database knows of batches' requests, and of the tokens that answers have cost.

A request is a row, and its first answer stays: that is what makes results exactly one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select, update

from hive_expert.jobs.rows import Rows
from hive_expert.jobs.tables import REQUESTS, SPENT


@dataclass(frozen=True, slots=True)
class Pending:
    """A request without an answer, and where its line stands in the input file."""

    line: int
    custom_id: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A request with its answer."""

    batch: str
    line: int
    custom_id: str
    state: str
    """done or failed."""
    status: int
    answer: str
    """JSON on one line: `{"request_id": …, "body": …}`, or an error's `{"code", "message"}`."""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class RequestRows(Rows):
    """The tables of requests and of spent tokens."""

    def clear_requests(self, batch_id: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(delete(REQUESTS).where(REQUESTS.c.batch == batch_id))

    def add_requests(self, batch_id: str, requests: Sequence[Pending]) -> None:
        """Note requests of a batch; their custom_ids must be new."""
        rows = [
            {
                "batch": batch_id,
                "custom_id": request.custom_id,
                "line": request.line,
                "start": request.start,
                "length": request.length,
                "state": "pending",
                "prompt_tokens": 0,
                "completion_tokens": 0,
            }
            for request in requests
        ]
        with self.engine.begin() as connection:
            connection.execute(insert(REQUESTS), rows)

    def pending(self, batch_id: str, after_line: int, limit: int) -> list[Pending]:
        """The next requests without an answer, in the order of the file."""
        return self.in_states(batch_id, ("pending",), after_line, limit)

    def in_states(
        self, batch_id: str, states: Sequence[str], after_line: int, limit: int
    ) -> list[Pending]:
        """The next requests in one of these states, in the order of the file."""
        columns = REQUESTS.c
        query = (
            select(columns.line, columns.custom_id, columns.start, columns.length)
            .where(columns.batch == batch_id, columns.state.in_(states), columns.line > after_line)
            .order_by(columns.line)
            .limit(limit)
        )
        with self.engine.connect() as connection:
            return [Pending(*row) for row in connection.execute(query)]

    def record(self, answers: Sequence[Answered], spent: Mapping[tuple[str, str], int]) -> int:
        """Write answers down, and the tokens that agents have spent.

        Law: a request that has an answer keeps it.

        Returns:
            How many of them were the first.
        """
        columns, first = REQUESTS.c, 0
        with self.engine.begin() as connection:
            for answer in answers:
                done = connection.execute(
                    update(REQUESTS)
                    .where(
                        columns.batch == answer.batch,
                        columns.custom_id == answer.custom_id,
                        columns.state == "pending",
                    )
                    .values(
                        state=answer.state,
                        status=answer.status,
                        answer=answer.answer,
                        prompt_tokens=answer.prompt_tokens,
                        completion_tokens=answer.completion_tokens,
                    )
                )
                first += done.rowcount
            for (agent, period), tokens in spent.items():
                _add_spent(connection, agent, period, tokens)
        return first

    def give_up(self, batch_id: str, state: str) -> int:
        """Bring all requests without an answer into a state that says why there is none."""
        with self.engine.begin() as connection:
            done = connection.execute(
                update(REQUESTS)
                .where(REQUESTS.c.batch == batch_id, REQUESTS.c.state == "pending")
                .values(state=state)
            )
        return done.rowcount

    def answers(self, batch_id: str, after_line: int, limit: int) -> list[dict[str, Any]]:
        """The next requests with all that is known of them, in the order of the file."""
        query = (
            select(REQUESTS)
            .where(REQUESTS.c.batch == batch_id, REQUESTS.c.line > after_line)
            .order_by(REQUESTS.c.line)
            .limit(limit)
        )
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def spent(self) -> dict[tuple[str, str], int]:
        """Tokens by agent and period."""
        with self.engine.connect() as connection:
            rows = connection.execute(select(SPENT.c.agent, SPENT.c.period, SPENT.c.tokens))
            return {(agent, period): tokens for agent, period, tokens in rows}


def _add_spent(connection: Connection, agent: str, period: str, tokens: int) -> None:
    here = and_(SPENT.c.agent == agent, SPENT.c.period == period)
    more = update(SPENT).where(here).values(tokens=SPENT.c.tokens + tokens)
    if not connection.execute(more).rowcount:
        connection.execute(insert(SPENT).values(agent=agent, period=period, tokens=tokens))
