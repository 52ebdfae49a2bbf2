"""Each token is counted once: whatever is lost on the way, and whatever comes twice."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_expert.replicas import account
from hive_expert.replicas.account import Account, Counted
from hive_expert.replicas.relay import Spent
from hive_expert.serving.ledger import Ledger


def told(number: int | None, tokens: int, agent: str = "alice") -> bytes:
    return json.dumps({"number": number, "agent": agent, "tokens": tokens}).encode() + b"\n"


async def test_an_answer_comes_with_its_agent_s_sum() -> None:
    counting = Account("one")
    first, second = counting.begin("f"), counting.begin("f")
    counting.read(told(2, 5) + told(1, 7))
    assert await counting.settled(second) == Spent("one", "alice", 12)
    assert await counting.settled(first) == Spent("one", "alice", 12)


async def test_lines_may_come_in_pieces() -> None:
    counting = Account("one")
    entry = counting.begin("f")
    for byte in told(1, 7):
        counting.read(bytes([byte]))
    assert await counting.settled(entry) == Spent("one", "alice", 7)


async def test_a_server_that_tells_nothing_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(account, "SETTLE_LIMIT_S", 0.01)
    counting = Account("one")
    assert await counting.settled(counting.begin("f")) is None


async def test_a_new_front_begins_at_zero_and_keeps_what_ends_then() -> None:
    counting = Account("one")
    counting.begin("before")
    counting.read(told(1, 7))
    left = counting.begin("before")
    entry = counting.begin("after")
    counting.read(told(left.number, 100) + told(entry.number, 5) + told(None, 1, "bob"))
    assert await counting.settled(entry) == Spent("one", "alice", 5)
    assert counting.sums("after") == [Spent("one", "alice", 5), Spent("one", "bob", 1)]
    assert counting.sums("before") == [Spent("one", "alice", 107)]
    assert counting.sums("nobody") == []


@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), st.integers(0, 50)), max_size=30))
def test_sums_count_once_however_they_are_heard(answers: list[tuple[str, int]]) -> None:
    """Every second one is lost, all that arrive come twice, and an older one comes late."""
    ledger = Ledger()
    counted, sums = Counted(ledger), {"one": 0, "two": 0}
    late: Spent | None = None
    for place, (replica, tokens) in enumerate(answers):
        sums[replica] += tokens
        heard = Spent(replica, "alice", sums[replica])
        if place % 2:
            counted.add(heard)
            counted.add(heard)
        if late is not None:
            counted.add(late)
        late = heard
    for replica, tokens in sums.items():
        counted.add(Spent(replica, "alice", tokens))
    assert ledger.spent("alice") == sum(sums.values())
