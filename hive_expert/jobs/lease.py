"""One server at a time works on the jobs of a folder, and on those of a database: two would ask
every request twice."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from hive_expert.errors import NoJobsError, Problem

_LOCK = 0x68697665
"""The number of our advisory lock in PostgreSQL: any that others do not use."""

PATIENCE_S = 10.0
"""PostgreSQL may need a moment to see that a killed server is gone."""


class Lease:
    """Held until it is released, or its process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptors: list[int] = []
        self._connection: Connection | None = None

    def take_folder(self) -> None:
        """Raises NoJobsError: another process has it."""
        self._lock(self._folder / "lock", str(self._folder), "--jobs-dir")

    def take_database(self, engine: Engine) -> None:
        """Raises NoJobsError: another server has it.

        SQLite's lock is a file beside it, as it may lie in a folder of its own; PostgreSQL's is the
        session's.
        """
        if engine.dialect.name == "postgresql":
            self._connection = _locked_session(engine)
        else:
            path = Path(str(engine.url.database)).resolve()
            lock = path.with_name(f"{path.name}.lock")
            self._lock(lock, "the database", "--jobs-database")

    def keep(self, engine: Engine) -> None:
        """Take PostgreSQL's lock again if its session was lost, as in a restart of PostgreSQL.

        Raises:
            NoJobsError: another server has taken it meanwhile.
            SQLAlchemyError: the database is away.
        """
        if engine.dialect.name != "postgresql":
            return
        if self._connection is not None:
            try:
                self._connection.scalar(text("SELECT 1"))
                self._connection.commit()
                return
            except SQLAlchemyError:
                self._let_go()
        self.take_database(engine)

    def release(self) -> None:
        self._let_go()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []

    def _lock(self, path: Path, what: str, option: str) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise _taken(what, option) from error
        self._descriptors.append(descriptor)

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection = None


def _locked_session(engine: Engine) -> Connection:
    """A connection that has the lock for as long as it lives. Raises NoJobsError."""
    connection = engine.connect()
    ask = text("SELECT pg_try_advisory_lock(:number)")
    deadline = time.monotonic() + PATIENCE_S
    while not connection.scalar(ask, {"number": _LOCK}):
        if time.monotonic() > deadline:
            connection.invalidate()
            raise _taken("the database", "--jobs-database")
        time.sleep(0.2)
    # The lock is the session's; an open transaction would only keep old rows alive.
    connection.commit()
    return connection


def _taken(where: str, option: str) -> NoJobsError:
    remedy = f"ask that one, or give this one another {option}"
    return NoJobsError(Problem(where, "another server works on these jobs", remedy))
