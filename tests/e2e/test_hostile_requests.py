"""Some of each kind of hostile request on the shared server; `python -m tests.e2e.hostile_requests`
sends all of them.
"""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Server
from tests.e2e.hostile_requests.run import KINDS, numbered, run


def test_there_are_enough_of_them_and_each_has_a_name_of_its_own() -> None:
    for kind, count in (("structures", 500), ("bodies", 300)):
        requests = numbered(kind)
        assert len({(body.path, body.content, str(body.headers)) for _, body in requests}) >= count
        assert len({name for name, _ in requests}) == len(requests)


@pytest.mark.e2e
async def test_neither_the_server_nor_a_neighbour_is_harmed(server: Server) -> None:
    tally = await run(server.url, structure_count=16, body_count=40)
    assert list(tally.wrong()) == []
    # One that nobody has had the time to judge, after all tries, has shown nothing.
    assert [o for kind in KINDS for o in tally.of(kind) if o["status"] == 503] == []
    assert (len(tally.of("structures")), len(tally.of("bodies"))) == (16, 40)
    assert tally.neighbours["answers"] > 0
