"""Two servers never work on the same jobs of a PostgreSQL: the real one, at HIVE_TEST_POSTGRES."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from hive_expert.errors import NoJobsError
from hive_expert.jobs import lease as lease_module
from hive_expert.jobs.lease import Lease
from hive_expert.jobs.tables import open_database

pytestmark = pytest.mark.postgres

NewLease = Callable[[], Lease]


@pytest.fixture
def engine() -> Iterator[Engine]:
    url = os.environ.get("HIVE_TEST_POSTGRES")
    assert url, "HIVE_TEST_POSTGRES is to be the URL of a database for tests: postgresql://…"
    engine = open_database(url)
    yield engine
    engine.dispose()


@pytest.fixture
def new_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NewLease]:
    """Leases, which are released at the end. None waits long for another's to end."""
    monkeypatch.setattr(lease_module, "PATIENCE_S", 1.0)
    with ExitStack() as stack:

        def made() -> Lease:
            lease = Lease(tmp_path)
            stack.callback(lease.release)
            return lease

        yield made


def end_session(engine: Engine, lease: Lease) -> None:
    """What a restart of PostgreSQL does to a lease."""
    assert lease._connection is not None
    number = lease._connection.scalar(text("SELECT pg_backend_pid()"))
    with engine.connect() as connection:
        # With a second number it waits until the session is gone, for at most so many milliseconds.
        end = text("SELECT pg_terminate_backend(:number, 10000)")
        assert connection.scalar(end, {"number": number})


def test_a_database_is_held_by_one(engine: Engine, new_lease: NewLease) -> None:
    first, second = new_lease(), new_lease()
    first.take_database(engine)
    with pytest.raises(NoJobsError, match="--jobs-database"):
        second.take_database(engine)
    first.keep(engine)
    first.release()
    second.take_database(engine)


def test_a_lock_is_taken_again_when_its_session_is_lost(
    engine: Engine, new_lease: NewLease
) -> None:
    first, second = new_lease(), new_lease()
    first.take_database(engine)
    end_session(engine, first)
    first.keep(engine)
    with pytest.raises(NoJobsError, match="another server works on these jobs"):
        second.take_database(engine)


def test_that_another_has_taken_the_lock_is_seen(engine: Engine, new_lease: NewLease) -> None:
    first, second = new_lease(), new_lease()
    first.take_database(engine)
    end_session(engine, first)
    second.take_database(engine)
    with pytest.raises(NoJobsError, match="another server works on these jobs"):
        first.keep(engine)
    second.keep(engine)
