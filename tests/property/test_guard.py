"""Laws of the guard's parts: room, nesting and salts."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hive_expert.serving.body import too_deep
from hive_expert.serving.cache_salt import CacheSalts
from hive_expert.serving.traffic import Traffic, TrafficLimits


@given(st.lists(st.tuples(st.sampled_from(["in", "out"]), st.sampled_from("abc"))))
def test_who_is_present_has_entered_and_not_left(events: list[tuple[str, str]]) -> None:
    limits = TrafficLimits(running=2, waiting=2, per_tenant=3)
    traffic = Traffic(limits)
    inside: list[str] = []
    for event, tenant in events:
        if event == "out" and tenant in inside:
            inside.remove(tenant)
            traffic.leave(tenant)
        elif event == "in":
            fits = len(inside) < 4 and inside.count(tenant) < 3
            assert (traffic.enter(tenant) is None) is fits
            inside += [tenant] if fits else []
        assert traffic.present == len(inside) <= limits.running + limits.waiting


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


VALUES = st.recursive(
    st.text(alphabet='[]{}"\\a', max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(VALUES, st.integers(0, 6))
def test_depth_is_that_of_the_value(value: Any, limit: int) -> None:
    assert too_deep(json.dumps(value).encode(), limit) is (depth_of(value) > limit)


NAMES = st.text(min_size=1, max_size=8)
ASKED = st.none() | st.text(min_size=1, max_size=8)


@given(NAMES, ASKED, NAMES, ASKED)
def test_two_tenants_never_share_a_salt(
    one: str, asked_one: str | None, other: str, asked_other: str | None
) -> None:
    salts = CacheSalts()
    same = salts.salt(one, asked_one) == salts.salt(other, asked_other)
    assert same is ((one, asked_one) == (other, asked_other))
