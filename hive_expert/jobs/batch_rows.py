"""What the database knows of batches.

Whoever asks for an agent's batches gets that agent's only; another's are not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from hive_expert.errors import JobError, Problem, UnknownJobError
from hive_expert.jobs.batch import FINAL, NEXT, OPEN, Batch, Counts
from hive_expert.jobs.file_rows import file_in
from hive_expert.jobs.rows import Page, Rows, columns_of, page_of, require_id
from hive_expert.jobs.tables import BATCHES, FILES, REQUESTS


class BatchRows(Rows):
    """The table of batches."""

    def add_batch(self, batch: Batch, *, most_open: int) -> None:
        """Note a new batch.

        Raises:
            UnknownJobError: its input file is none of its agent's.
            JobError: that file is not for batches, or the agent has too many batches open.
        """
        with self.engine.begin() as connection:
            file = file_in(connection, batch.input_file, batch.agent)
            if file.purpose != "batch":
                what = f"{file.id} was uploaded for {file.purpose!r}, not 'batch'"
                raise JobError(Problem("input_file_id", what))
            _require_few_open(connection, batch.agent, most_open)
            connection.execute(insert(BATCHES).values(**batch_columns(batch)))

    def require_few_open(self, agent: str, most_open: int) -> None:
        """Raises JobError: the agent has too many batches open."""
        with self.engine.connect() as connection:
            _require_few_open(connection, agent, most_open)

    def batch(self, batch_id: str, agent: str | None = None) -> Batch:
        """A batch as it is now. Raises UnknownJobError: the agent (if given) has no such batch."""
        with self.engine.connect() as connection:
            return with_counts(connection, [batch_in(connection, batch_id, agent)])[0]

    def batches(self, agent: str, *, after: str | None, limit: int) -> Page:
        """A page of an agent's batches, the newest first. Raises as `files`."""
        with self.engine.connect() as connection:
            anchor = None if after is None else batch_in(connection, after, agent).created_at
            wanted = [BATCHES.c.agent == agent]
            rows = page_of(connection, BATCHES, wanted, after, anchor, limit, newest_first=True)
            found = with_counts(connection, [_batch_of(row) for row in rows[:limit]])
        return Page(tuple(found), len(rows) > limit)

    def open_batches(self) -> list[Batch]:
        """Of all agents."""
        query = select(BATCHES).where(BATCHES.c.state.in_(OPEN))
        with self.engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
            return [_batch_of(dict(row)) for row in rows]

    def states(self) -> dict[str, int]:
        """State → how many batches of all agents have it."""
        query = select(BATCHES.c.state, func.count()).group_by(BATCHES.c.state)
        with self.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def move(
        self, batch_id: str, state: str, now: int, *, when: Sequence[str] | None = None, **more: Any
    ) -> Batch | None:
        """Bring a batch into a state, if it may go there from where it is (and is in `when`).

        Returns:
            The batch then; None if it stays as it was.
        """
        with self.engine.begin() as connection:
            batch = batch_in(connection, batch_id, None, lock=True)
            if state not in NEXT[batch.state] or (when is not None and batch.state not in when):
                return None
            moved = replace(batch, state=state, times={**batch.times, state: now}, **more)
            connection.execute(
                update(BATCHES).where(BATCHES.c.id == batch_id).values(**batch_columns(moved))
            )
        return moved

    def begin_anew(self, batch_id: str) -> Batch:
        """Give a batch's workflow a new id."""
        with self.engine.begin() as connection:
            batch = batch_in(connection, batch_id, None, lock=True)
            anew = replace(batch, runs=batch.runs + 1)
            connection.execute(
                update(BATCHES).where(BATCHES.c.id == batch_id).values(runs=anew.runs)
            )
        return anew

    def remove_batch(self, batch_id: str, agent: str) -> Batch:
        """Forget a batch that is done, and its output files.

        Raises:
            UnknownJobError: the agent has no such batch.
            JobError: it is still open.
        """
        with self.engine.begin() as connection:
            batch = batch_in(connection, batch_id, agent, lock=True)
            if batch.state not in FINAL:
                raise JobError(Problem("", f"{batch_id} is {batch.state}", "cancel it first"))
            outputs = [f for f in (batch.output_file, batch.error_file) if f is not None]
            connection.execute(delete(FILES).where(FILES.c.id.in_(outputs)))
            connection.execute(delete(REQUESTS).where(REQUESTS.c.batch == batch_id))
            connection.execute(delete(BATCHES).where(BATCHES.c.id == batch_id))
        return batch


def batch_in(
    connection: Connection, batch_id: str, agent: str | None, *, lock: bool = False
) -> Batch:
    require_id(batch_id, "batch")
    query = select(BATCHES).where(BATCHES.c.id == batch_id)
    if agent is not None:
        query = query.where(BATCHES.c.agent == agent)
    if lock and connection.dialect.name == "sqlite":
        # A read does not lock in SQLite: two who read the same state could both move on from it.
        connection.execute(update(BATCHES).where(BATCHES.c.id == batch_id).values(id=batch_id))
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if row is None:
        raise UnknownJobError(Problem("", f"No such batch: {batch_id[:80]}"))
    return _batch_of(dict(row))


def _require_few_open(connection: Connection, agent: str, most_open: int) -> None:
    query = select(func.count()).where(BATCHES.c.agent == agent, BATCHES.c.state.in_(OPEN))
    if connection.scalars(query).one() >= most_open:
        remedy = "wait for one to end, or cancel one"
        raise JobError(Problem("", f"{most_open} batches are open already", remedy))


def with_counts(connection: Connection, batches: list[Batch]) -> list[Batch]:
    """Batches with the counts of their requests, which are stored once a batch is done."""
    wanted = [batch.id for batch in batches if batch.state not in FINAL]
    if not wanted:
        return batches
    columns = REQUESTS.c
    query = (
        select(
            columns.batch,
            columns.state,
            func.count(),
            func.sum(columns.prompt_tokens),
            func.sum(columns.completion_tokens),
        )
        .where(columns.batch.in_(wanted))
        .group_by(columns.batch, columns.state)
    )
    counts: dict[str, Counts] = {}
    for batch_id, state, count, prompt, completion in connection.execute(query):
        held = counts.get(batch_id, Counts())
        counts[batch_id] = Counts(
            held.total + count,
            held.done + (count if state == "done" else 0),
            held.failed + (0 if state in ("done", "pending") else count),
            held.prompt_tokens + int(prompt),
            held.completion_tokens + int(completion),
        )
    return [replace(b, counts=counts[b.id]) if b.id in counts else b for b in batches]


_JSON: Mapping[str, Callable[[Any], Any]] = {"metadata": dict, "problems": list, "times": dict}


def batch_columns(batch: Batch) -> dict[str, Any]:
    """All but the counts, which `finish` writes."""
    plain = columns_of(batch, BATCHES)
    del plain["counts"]
    return plain | {name: json.dumps(kind(plain[name])) for name, kind in _JSON.items()}


def _batch_of(row: Mapping[str, Any]) -> Batch:
    values = dict(row)
    counts = values.pop("counts")
    values |= {name: json.loads(values[name]) for name in _JSON}
    return Batch(**values, counts=Counts(**json.loads(counts)) if counts else Counts())


def counts_json(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in Counts.__dataclass_fields__}
