"""Two servers never work on the same jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

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
