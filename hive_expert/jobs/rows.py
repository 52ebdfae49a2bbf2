"""What the tables of jobs have in common: pages of a list, ids of strangers', columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Table, and_, or_, select

from hive_expert.errors import Problem, UnknownJobError

_ID = re.compile(r"[a-z0-9_-]{1,40}")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    items: tuple[Any, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Rows:
    """Some tables of one database. Methods are a transaction each, and block: the server calls them
    in threads."""

    engine: Engine


def page_of(
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


def require_id(text: str, kind: str) -> None:
    """PostgreSQL takes no NUL, and nothing else of a stranger's has to reach it either."""
    if not _ID.fullmatch(text):
        raise UnknownJobError(Problem("", f"No such {kind}: {text[:80]!r}"))


def columns_of(value: Any, table: Table) -> dict[str, Any]:
    return {column.name: getattr(value, column.name) for column in table.columns}
