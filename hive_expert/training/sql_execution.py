"""Runs generated SQL on a throw-away SQLite database and compares results.

The statement comes from a model and the database script may come from someone else's package:
both run in memory, within limits, and the statement may only read.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

TIME_LIMIT_SECONDS = 2.0
ROW_LIMIT = 10_000
VALUE_LIMIT_BYTES = 1 << 20
DATABASE_PAGES = 16_384  # 64 MiB

DIALECT = "sqlite"

Row = tuple[object, ...]

_READING = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
# A script of tables and rows has no use for other files or for settings.
_NOT_IN_SCRIPTS = frozenset({sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA})


class QueryError(Exception):
    """The statement did not run to its end; the text says why. Never leaves scoring."""


def run_query(script: str, statement: str) -> list[Row]:
    """Run one reading statement on the database that ``script`` makes; its rows in order.

    Raises QueryError when either fails, takes too long, or the statement does more than read.
    """
    with _database(script) as connection:
        connection.set_authorizer(_allow_reading)
        with _time_limit(connection):
            try:
                cursor = connection.execute(statement)
                rows = cursor.fetchmany(ROW_LIMIT + 1)
            except (sqlite3.Error, sqlite3.Warning) as error:
                raise QueryError(str(error)) from error
            except ValueError as error:  # a NUL character
                raise QueryError(str(error)) from error
        if cursor.description is None:
            raise QueryError("not a query")
    if len(rows) > ROW_LIMIT:
        raise QueryError(f"more than {ROW_LIMIT} rows")
    return rows


def same_result(expected: Sequence[Row], actual: Sequence[Row], *, ordered: bool) -> bool:
    """Equal as multisets of rows, or in order; numbers within rounding, names not looked at."""
    if len(expected) != len(actual):
        return False
    if not ordered:
        expected, actual = sorted(expected, key=_row_key), sorted(actual, key=_row_key)
    return all(
        len(a) == len(b) and all(map(_same_value, a, b))
        for a, b in zip(expected, actual, strict=True)
    )


def is_ordered(statement: str) -> bool:
    """Whether the statement itself, not a part of it, ends in ORDER BY."""
    query = single_query(statement)
    return query is not None and query.args.get("order") is not None


def single_query(text: str) -> exp.Query | None:
    """The text as one query, or None when it is anything else, or more."""
    try:
        statements = sqlglot.parse(text, read=DIALECT)
    except SqlglotError:
        return None
    except RecursionError:
        return None
    parts = [part for part in statements if part is not None]
    if len(parts) != 1 or not isinstance(parts[0], exp.Query):
        return None
    return parts[0]


@contextmanager
def _database(script: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA max_page_count = {DATABASE_PAGES}")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(VALUE_LIMIT_BYTES, len(script) * 4))
        connection.set_authorizer(_allow_script)
        with _time_limit(connection):
            try:
                connection.executescript(script)
            except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
                raise QueryError(f"the fixture: {error}") from error
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE_LIMIT_BYTES)
        yield connection


@contextmanager
def _time_limit(connection: sqlite3.Connection) -> Iterator[None]:
    deadline = time.monotonic() + TIME_LIMIT_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)


def _allow_reading(action: int, *names: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION and names[1] == "load_extension":
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _allow_script(action: int, *_names: str | None) -> int:
    return sqlite3.SQLITE_DENY if action in _NOT_IN_SCRIPTS else sqlite3.SQLITE_OK


def _same_value(a: object, b: object) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
    return type(a) is type(b) and a == b


def _row_key(row: Row) -> tuple[tuple[str, object], ...]:
    """Sorts rows of mixed types; numbers by a rounded value, so that near ones stay near."""
    return tuple(
        ("number", float(f"{value:.6g}"))
        if isinstance(value, int | float)
        else (type(value).__name__, "" if value is None else value)
        for value in row
    )
