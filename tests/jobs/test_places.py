"""No agent has all the places."""

from __future__ import annotations

from contextlib import ExitStack

from hive_expert.jobs.places import Places
from tests.jobs.conftest import ALICE, BOB, Running
from tests.jobs.test_files_api import HEADERS, form


def test_each_agent_has_its_part_and_all_have_no_more_than_there_are() -> None:
    places = Places(of_all=3, of_one=2)
    with ExitStack() as stack:
        for _ in range(2):
            assert places.free("alice")
            stack.enter_context(places.taking("alice"))
        assert not places.free("alice") and places.free("bob")
        stack.enter_context(places.taking("bob"))
        assert not places.free("bob") and not places.free("carol")
    assert places == Places(3, 2)


async def test_one_key_takes_neither_all_uploads_nor_all_streams(server: Running) -> None:
    jobs = server.jobs
    with ExitStack() as stack:
        for places in (jobs.uploads, jobs.streams):
            while places.free("alice"):
                stack.enter_context(places.taking("alice"))
        async with server.http(ALICE) as alice, server.http(BOB) as bob:
            refused = await alice.post("/v1/files", content=form(), headers=HEADERS)
            assert refused.status_code == 429
            assert (await alice.get("/v1/jobs/events")).status_code == 429
            taken = await bob.post("/v1/files", content=form(), headers=HEADERS)
            assert taken.status_code == 200
        assert jobs.streams.free("bob")
