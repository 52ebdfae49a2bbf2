"""One server at a time works on the jobs of a folder, and on those of a database: two would ask
every request twice."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from hive_expert.errors import NoJobsError, Problem

_LOCK = 0x68697665
"""The number of our advisory lock in PostgreSQL: any that others do not use."""

PATIENCE_S = 10.0
"""PostgreSQL may need a moment to see that a killed server is gone."""


class Lease:
    """Held until it is released, or its process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._descriptor: int | None = None
        self._connection: Connection | None = None

    def take_folder(self) -> None:
        """Raises NoJobsError: another process has it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise _taken(str(self._path.parent), "--jobs-dir") from error
        self._descriptor = descriptor

    def take_database(self, engine: Engine) -> None:
        """Raises NoJobsError: another server has it. SQLite lies in the folder, and has no lock."""
        if engine.dialect.name != "postgresql":
            return
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
        self._connection = connection

    def release(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _taken(where: str, option: str) -> NoJobsError:
    remedy = f"ask that one, or give this one another {option}"
    return NoJobsError(Problem(where, "another server works on these jobs", remedy))
