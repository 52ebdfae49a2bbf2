"""Room stays for whoever waits for an answer."""

from __future__ import annotations

from hive_expert.jobs.admission import Room, room_of


def test_three_quarters_are_for_batches_when_nobody_else_asks() -> None:
    room = room_of(64)
    assert room == Room(64, 48, 16)
    assert [room.for_jobs(direct) for direct in (0, 10, 40, 64)] == [48, 38, 8, 1]
    assert room_of(64, 16).for_jobs(0) == 16
    assert room_of(64, 16).for_jobs(30) == 16
