"""Short jobs wait for short ones only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hive_expert.decoding.child import BusyError, CrashedError, TooSlowError
from hive_expert.decoding.lanes import SHORT_S, Lanes


class Asked:
    """Notes the limits of what it is asked, and takes so long for it."""

    def __init__(self, seconds: float = 0.0, failure: Exception | None = None) -> None:
        self.limits: list[float] = []
        self.seconds = seconds
        self.failure = failure

    async def ask(self, message: Mapping[str, Any], *, limit_s: float) -> dict[str, Any]:
        self.limits.append(limit_s)
        if self.failure is not None:
            raise self.failure
        if self.seconds > limit_s:
            raise TooSlowError(f"took more than {limit_s:g} s")
        return dict(message)


async def test_what_is_short_needs_only_one() -> None:
    short, long = Asked(), Asked()
    assert await Lanes(short, long).ask({"a": 1}, limit_s=5.0) == {"a": 1}
    assert (short.limits, long.limits) == ([SHORT_S], [])


async def test_what_takes_longer_has_its_whole_limit_in_the_other() -> None:
    short, long = Asked(3.0), Asked(3.0)
    assert await Lanes(short, long).ask({"a": 1}, limit_s=5.0) == {"a": 1}
    assert (short.limits, long.limits) == ([SHORT_S], [5.0])


async def test_what_is_too_slow_is_so_for_its_own_limit() -> None:
    with pytest.raises(TooSlowError, match="more than 5 s"):
        await Lanes(Asked(9.0), Asked(9.0)).ask({}, limit_s=5.0)


async def test_a_limit_that_is_shorter_still_is_kept() -> None:
    short, long = Asked(3.0), Asked()
    with pytest.raises(TooSlowError, match=r"more than 0.5 s"):
        await Lanes(short, long).ask({}, limit_s=0.5)
    assert long.limits == []


@pytest.mark.parametrize("failure", [BusyError("later"), CrashedError("died")])
async def test_any_other_failure_is_final(failure: Exception) -> None:
    long = Asked()
    with pytest.raises(type(failure)):
        await Lanes(Asked(failure=failure), long).ask({}, limit_s=5.0)
    assert long.limits == []
