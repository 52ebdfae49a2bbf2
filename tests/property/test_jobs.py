"""What holds of jobs whatever comes: shares, room, lines, priorities."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hive_expert.jobs.admission import room_of
from hive_expert.jobs.line import ENDPOINTS, read_line
from hive_expert.serving.agents import Agent, Agents, PriorityClass
from tests.jobs.test_fair_share import served


@given(
    st.lists(st.floats(0.1, 10), min_size=2, max_size=4),
    st.integers(1, 32),
)
def test_no_agent_gets_ahead_by_more_than_what_runs(weights: list[float], places: int) -> None:
    named = {str(n): weight for n, weight in enumerate(weights)}
    sizes = dict.fromkeys(named, 50)
    tokens = served(named, sizes, places=places, rounds=1000)
    clocks = [tokens[name] / weight for name, weight in named.items()]
    assert max(clocks) - min(clocks) <= 100 * (places + 2) / min(weights)


@given(st.integers(1, 512), st.integers(0, 600), st.none() | st.integers(1, 600))
def test_direct_requests_find_their_places_free(places: int, direct: int, jobs: int | None) -> None:
    room = room_of(places, jobs)
    granted = room.for_jobs(direct)
    assert 1 <= granted <= max(1, room.jobs)
    if granted > 1:
        assert granted + direct + room.head_room <= places


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_broken(raw: bytes) -> None:
    read_line(raw, 1, ENDPOINTS[0])


@given(st.sampled_from(PriorityClass), st.none() | st.sampled_from(PriorityClass), st.integers())
def test_no_client_raises_its_priority(
    direct: PriorityClass, job: PriorityClass | None, sent: int
) -> None:
    agents = Agents(Agent(direct=direct))
    own = direct if job is None else job
    assert agents.priority("x", job, sent) == max(own, sent)
