"""What the database knows of files and batches. Each function is one transaction.

Whoever asks for an agent's things gets that agent's only; another's are not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Table,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from hive_expert.errors import JobError, Problem, UnknownJobError
from hive_expert.jobs.batch import FINAL, NEXT, OPEN, Batch, Counts, File
from hive_expert.jobs.tables import BATCHES, FILES, REQUESTS, SPENT

_ID = re.compile(r"[a-z0-9_-]{1,40}")


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


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    items: tuple[Any, ...]
    has_more: bool


class Store:
    """The database. Its methods block: the server calls them in threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # Files

    def add_file(self, file: File) -> None:
        with self._engine.begin() as connection:
            connection.execute(insert(FILES).values(**_columns(file, FILES)))

    def file(self, file_id: str, agent: str) -> File:
        """Raises UnknownJobError: the agent has no such file."""
        with self._engine.connect() as connection:
            return _file(connection, file_id, agent)

    def files(
        self, agent: str, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> Page:
        """A page of an agent's files. Raises UnknownJobError: `after` is none of them."""
        with self._engine.connect() as connection:
            anchor = None if after is None else _file(connection, after, agent).created_at
            wanted = [FILES.c.agent == agent]
            if purpose is not None:
                wanted.append(FILES.c.purpose == purpose)
            rows = _page(connection, FILES, wanted, after, anchor, limit, newest_first)
        return Page(tuple(File(**row) for row in rows[:limit]), len(rows) > limit)

    def stored(self, agent: str) -> tuple[int, int]:
        """How many files an agent has, and their bytes."""
        query = select(func.count(), func.coalesce(func.sum(FILES.c.size), 0))
        with self._engine.connect() as connection:
            count, size = connection.execute(query.where(FILES.c.agent == agent)).one()
        return count, int(size)

    def remove_file(self, file_id: str, agent: str) -> None:
        """Forget a file.

        Raises:
            UnknownJobError: the agent has no such file.
            JobError: an open batch reads it.
        """
        with self._engine.begin() as connection:
            _file(connection, file_id, agent)
            _require_unused(connection, file_id)
            connection.execute(delete(FILES).where(FILES.c.id == file_id))

    def remove_expired_files(self, now: int) -> list[str]:
        """Forget the files whose time is over and that no open batch reads; their ids."""
        used = select(BATCHES.c.input_file).where(BATCHES.c.state.in_(OPEN))
        over = and_(FILES.c.expires_at <= now, FILES.c.id.not_in(used))
        with self._engine.begin() as connection:
            gone = list(connection.scalars(select(FILES.c.id).where(over)))
            connection.execute(delete(FILES).where(FILES.c.id.in_(gone)))
        return gone

    def all_file_ids(self) -> set[str]:
        with self._engine.connect() as connection:
            return set(connection.scalars(select(FILES.c.id)))

    # Batches

    def add_batch(self, batch: Batch, *, most_open: int) -> None:
        """Note a new batch.

        Raises:
            UnknownJobError: its input file is none of its agent's.
            JobError: that file is not for batches, or the agent has too many batches open.
        """
        with self._engine.begin() as connection:
            file = _file(connection, batch.input_file, batch.agent)
            if file.purpose != "batch":
                what = f"{file.id} was uploaded for {file.purpose!r}, not 'batch'"
                raise JobError(Problem("input_file_id", what))
            query = select(func.count()).where(
                BATCHES.c.agent == batch.agent, BATCHES.c.state.in_(OPEN)
            )
            if connection.scalars(query).one() >= most_open:
                remedy = "wait for one to end, or cancel one"
                raise JobError(Problem("", f"{most_open} batches are open already", remedy))
            connection.execute(insert(BATCHES).values(**_batch_columns(batch)))

    def batch(self, batch_id: str, agent: str | None = None) -> Batch:
        """A batch as it is now. Raises UnknownJobError: the agent (if given) has no such batch."""
        with self._engine.connect() as connection:
            return _with_counts(connection, [_batch(connection, batch_id, agent)])[0]

    def batches(self, agent: str, *, after: str | None, limit: int) -> Page:
        """A page of an agent's batches, the newest first. Raises as `files`."""
        with self._engine.connect() as connection:
            anchor = None if after is None else _batch(connection, after, agent).created_at
            wanted = [BATCHES.c.agent == agent]
            rows = _page(connection, BATCHES, wanted, after, anchor, limit, newest_first=True)
            found = _with_counts(connection, [_batch_of(row) for row in rows[:limit]])
        return Page(tuple(found), len(rows) > limit)

    def open_batches(self) -> list[Batch]:
        """Of all agents."""
        query = select(BATCHES).where(BATCHES.c.state.in_(OPEN))
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
            return [_batch_of(dict(row)) for row in rows]

    def states(self) -> dict[str, int]:
        """State → how many batches of all agents have it."""
        query = select(BATCHES.c.state, func.count()).group_by(BATCHES.c.state)
        with self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def move(
        self, batch_id: str, state: str, now: int, *, when: Sequence[str] | None = None, **more: Any
    ) -> Batch | None:
        """Bring a batch into a state, if it may go there from where it is (and is in `when`).

        Returns:
            The batch then; None if it stays as it was.
        """
        with self._engine.begin() as connection:
            batch = _batch(connection, batch_id, None, lock=True)
            if state not in NEXT[batch.state] or (when is not None and batch.state not in when):
                return None
            moved = replace(batch, state=state, times={**batch.times, state: now}, **more)
            connection.execute(
                update(BATCHES).where(BATCHES.c.id == batch_id).values(**_batch_columns(moved))
            )
        return moved

    def begin_anew(self, batch_id: str) -> Batch:
        """Give a batch's workflow a new id."""
        with self._engine.begin() as connection:
            batch = _batch(connection, batch_id, None, lock=True)
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
        with self._engine.begin() as connection:
            batch = _batch(connection, batch_id, agent, lock=True)
            if batch.state not in FINAL:
                raise JobError(Problem("", f"{batch_id} is {batch.state}", "cancel it first"))
            outputs = [f for f in (batch.output_file, batch.error_file) if f is not None]
            connection.execute(delete(FILES).where(FILES.c.id.in_(outputs)))
            connection.execute(delete(REQUESTS).where(REQUESTS.c.batch == batch_id))
            connection.execute(delete(BATCHES).where(BATCHES.c.id == batch_id))
        return batch

    # Requests

    def clear_requests(self, batch_id: str) -> None:
        with self._engine.begin() as connection:
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
        with self._engine.begin() as connection:
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
        with self._engine.connect() as connection:
            return [Pending(*row) for row in connection.execute(query)]

    def record(self, answers: Sequence[Answered], spent: Mapping[tuple[str, str], int]) -> int:
        """Write answers down, and the tokens that agents have spent.

        Law: a request that has an answer keeps it.

        Returns:
            How many of them were the first.
        """
        columns, first = REQUESTS.c, 0
        with self._engine.begin() as connection:
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
        with self._engine.begin() as connection:
            done = connection.execute(
                update(REQUESTS)
                .where(REQUESTS.c.batch == batch_id, REQUESTS.c.state == "pending")
                .values(state=state)
            )
        return done.rowcount

    def count_pending(self, batch_id: str) -> int:
        query = select(func.count()).where(
            REQUESTS.c.batch == batch_id, REQUESTS.c.state == "pending"
        )
        with self._engine.connect() as connection:
            return connection.scalars(query).one()

    def answers(self, batch_id: str, after_line: int, limit: int) -> list[dict[str, Any]]:
        """The next requests with all that is known of them, in the order of the file."""
        query = (
            select(REQUESTS)
            .where(REQUESTS.c.batch == batch_id, REQUESTS.c.line > after_line)
            .order_by(REQUESTS.c.line)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def finish(
        self, batch_id: str, state: str, now: int, output: File | None, errors: File | None
    ) -> Batch | None:
        """Bring a batch to its end together with its files; its answers are in these now.

        Returns:
            The batch; None if it had come to its end before.
        """
        with self._engine.begin() as connection:
            batch = _batch(connection, batch_id, None, lock=True)
            if state not in NEXT[batch.state]:
                return None
            counts = _with_counts(connection, [batch])[0].counts
            done = replace(
                batch,
                state=state,
                times={**batch.times, state: now},
                output_file=output.id if output else None,
                error_file=errors.id if errors else None,
                counts=counts,
            )
            for file in (output, errors):
                if file is not None:
                    connection.execute(insert(FILES).values(**_columns(file, FILES)))
            columns = _batch_columns(done) | {"counts": json.dumps(_counts_json(counts))}
            connection.execute(update(BATCHES).where(BATCHES.c.id == batch_id).values(**columns))
            connection.execute(
                update(REQUESTS).where(REQUESTS.c.batch == batch_id).values(answer=None)
            )
        return done

    # Tokens

    def spent(self) -> dict[tuple[str, str], int]:
        """Tokens by agent and period."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(SPENT.c.agent, SPENT.c.period, SPENT.c.tokens))
            return {(agent, period): tokens for agent, period, tokens in rows}


def _page(
    connection: Connection,
    table: Table,
    wanted: list[Any],
    after: str | None,
    anchor: int | None,
    limit: int,
    newest_first: bool,
) -> list[dict[str, Any]]:
    """Rows of a page, and one more if there are more. The order is by time, then by id."""
    time, key = table.c.created_at, table.c.id
    if after is not None:
        later = or_(time < anchor, and_(time == anchor, key < after))
        earlier = or_(time > anchor, and_(time == anchor, key > after))
        wanted = [*wanted, later if newest_first else earlier]
    order = (time.desc(), key.desc()) if newest_first else (time, key)
    query = select(table).where(*wanted).order_by(*order).limit(limit + 1)
    return [dict(row) for row in connection.execute(query).mappings()]


def _file(connection: Connection, file_id: str, agent: str) -> File:
    _require_id(file_id, "file")
    query = select(FILES).where(FILES.c.id == file_id, FILES.c.agent == agent)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise UnknownJobError(Problem("", f"No such file: {file_id[:80]}"))
    return File(**row)


def _batch(
    connection: Connection, batch_id: str, agent: str | None, *, lock: bool = False
) -> Batch:
    _require_id(batch_id, "batch")
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


def _require_id(text: str, kind: str) -> None:
    """PostgreSQL takes no NUL, and nothing else of a stranger's has to reach it either."""
    if not _ID.fullmatch(text):
        raise UnknownJobError(Problem("", f"No such {kind}: {text[:80]!r}"))


def _require_unused(connection: Connection, file_id: str) -> None:
    query = select(BATCHES.c.id).where(BATCHES.c.input_file == file_id, BATCHES.c.state.in_(OPEN))
    using = connection.scalars(query).first()
    if using is not None:
        raise JobError(Problem("", f"{file_id} is read by {using}", "cancel that batch first"))


def _with_counts(connection: Connection, batches: list[Batch]) -> list[Batch]:
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


def _add_spent(connection: Connection, agent: str, period: str, tokens: int) -> None:
    here = and_(SPENT.c.agent == agent, SPENT.c.period == period)
    more = update(SPENT).where(here).values(tokens=SPENT.c.tokens + tokens)
    if not connection.execute(more).rowcount:
        connection.execute(insert(SPENT).values(agent=agent, period=period, tokens=tokens))


def _columns(value: Any, table: Table) -> dict[str, Any]:
    return {column.name: getattr(value, column.name) for column in table.columns}


_JSON: Mapping[str, Callable[[Any], Any]] = {"metadata": dict, "problems": list, "times": dict}


def _batch_columns(batch: Batch) -> dict[str, Any]:
    """All but the counts, which `finish` writes."""
    plain = _columns(batch, BATCHES)
    del plain["counts"]
    return plain | {name: json.dumps(kind(plain[name])) for name, kind in _JSON.items()}


def _batch_of(row: Mapping[str, Any]) -> Batch:
    values = dict(row)
    counts = values.pop("counts")
    values |= {name: json.loads(values[name]) for name in _JSON}
    return Batch(**values, counts=Counts(**json.loads(counts)) if counts else Counts())


def _counts_json(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in Counts.__dataclass_fields__}
