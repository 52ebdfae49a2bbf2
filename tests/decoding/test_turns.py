"""Owners take turns, whatever some of them want, and nobody who leaves takes a turn along."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from hive_expert.decoding.turns import Turns


async def take(turns: Turns, owner: str, taken: list[str], label: str = "") -> None:
    await turns.acquire(owner)
    taken.append(label or owner)
    await asyncio.sleep(0)
    turns.release()


async def test_owners_take_turns_and_keep_their_own_order() -> None:
    turns, taken = Turns(), list[str]()
    await turns.acquire(None)
    labels = ["a1", "a2", "a3", "b1", "c1", "b2"]
    tasks = [asyncio.create_task(take(turns, label[0], taken, label)) for label in labels]
    await asyncio.sleep(0)
    assert (turns.all_waiting, turns.waiting("a"), turns.waiting("z")) == (6, 3, 0)
    turns.release()
    await asyncio.gather(*tasks)
    assert taken == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert turns.all_waiting == 0
    await take(turns, "a", taken)


@pytest.mark.parametrize("handed", [False, True])
async def test_one_that_leaves_takes_no_turn_along(handed: bool) -> None:
    turns, taken = Turns(), list[str]()
    await turns.acquire(None)
    leaving = asyncio.create_task(take(turns, "a", taken, "left"))
    staying = asyncio.create_task(take(turns, "a", taken, "stayed"))
    await asyncio.sleep(0)
    if handed:
        turns.release()  # the turn is its own already, when it is cancelled
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    if not handed:
        turns.release()
    await asyncio.wait_for(staying, 60)
    assert taken == ["stayed"]
    assert turns.all_waiting == 0
