"""Two servers never work on the same jobs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from hive_expert.errors import NoJobsError
from hive_expert.jobs.lease import Lease
from tests.jobs.conftest import ALICE, Running, Start


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    first, second = Lease(tmp_path), Lease(tmp_path)
    first.take_folder()
    with pytest.raises(NoJobsError, match="--jobs-dir"):
        second.take_folder()
    first.release()
    second.take_folder()
    second.release()


def test_a_database_in_a_place_of_its_own_is_held_by_one(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    first, second = Lease(tmp_path / "1"), Lease(tmp_path / "2")
    first.take_database(engine)
    with pytest.raises(NoJobsError, match="--jobs-database"):
        second.take_database(engine)
    first.release()
    second.take_database(engine)
    second.release()


class Postgres:
    """As much of PostgreSQL as a lease asks for: sessions, of which one has the lock."""

    dialect = SimpleNamespace(name="postgresql")

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.owner: object = None

    def connect(self) -> Session:
        self.sessions.append(Session(self))
        return self.sessions[-1]

    def restart(self) -> None:
        for session in self.sessions:
            session.alive = False
        self.owner = None


class Session:
    def __init__(self, server: Postgres) -> None:
        self.server = server
        self.alive = True

    def scalar(self, query: Any, _: Any = None) -> Any:
        if not self.alive:
            raise OperationalError("", None, Exception())
        if "lock" in str(query):
            self.server.owner = self.server.owner or self
            return self.server.owner is self
        return 1

    def commit(self) -> None:
        pass

    def invalidate(self) -> None:
        self.alive = False


def test_a_lock_is_taken_again_when_its_session_is_lost() -> None:
    server: Any = Postgres()
    lease = Lease(Path())
    lease.take_database(server)
    lease.keep(server)
    assert len(server.sessions) == 1
    server.restart()
    lease.keep(server)
    assert server.owner is server.sessions[1]


def test_that_another_has_taken_the_lock_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hive_expert.jobs.lease.PATIENCE_S", 0)
    server: Any = Postgres()
    lease = Lease(Path())
    lease.take_database(server)
    server.restart()
    server.owner = "another"
    with pytest.raises(NoJobsError, match="another server works on these jobs"):
        lease.keep(server)


async def test_the_second_server_serves_no_batches_and_says_why(
    server: Running, start: Start
) -> None:
    second = await start()
    async with second.http(ALICE) as http:
        answer = await http.get("/v1/batches")
    assert answer.status_code == 503
    assert "another server works on these jobs" in answer.json()["error"]["message"]
    async with server.http(ALICE) as http:
        assert (await http.get("/v1/batches")).status_code == 200
