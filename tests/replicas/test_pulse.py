"""Many who ask whether anybody is up cost one look."""

from __future__ import annotations

import asyncio

from hive_expert.replicas.pulse import Pulse


async def test_those_who_ask_at_once_share_one_look() -> None:
    looks, up, now = [0], [True], [0.0]

    async def look() -> bool:
        looks[0] += 1
        await asyncio.sleep(0)
        return up[0]

    pulse = Pulse(look, every_s=0.5, clock=lambda: now[0])
    assert await asyncio.gather(*(pulse.felt() for _ in range(50))) == [True] * 50
    assert looks == [1]
    up[0] = False
    assert await pulse.felt()
    now[0] = 0.5
    assert not await pulse.felt()
    assert looks == [2]
