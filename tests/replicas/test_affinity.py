"""Requests for the same experts share a replica, however they are written."""

from __future__ import annotations

import pytest

from hive_expert.replicas import affinity
from hive_expert.replicas.affinity import Known, model_of, names_of


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("expert-sql", ("expert-sql",)),
        ("expert-sql@0.2.0", ("expert-sql",)),
        ("expert-sql@1.0.0+build", ("expert-sql",)),
        ("expert-sql#0123456789", ("expert-sql",)),
        ("expert-sql+expert-json", ("expert-json", "expert-sql")),
        ("expert-json:0.3+expert-sql@0.2.0:0.7", ("expert-json", "expert-sql")),
        ("smollm2-135m", ()),
        ("auto", ()),
        ("expert-sql+other", ()),
        ("expert-SQL", ()),
        ("expert-" + "a" * 58, ()),
        ("", ()),
        (None, ()),
        (["expert-sql"], ()),
    ],
)
def test_the_experts_that_a_model_names(model: object, names: tuple[str, ...]) -> None:
    assert names_of(model) == names


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b'{"messages": []}', b"[" * 100_000])
def test_a_body_without_a_model_has_none(body: bytes) -> None:
    assert model_of(body) is None


def test_the_model_is_read_from_the_body() -> None:
    assert model_of(b'{"model": "expert-sql"}') == "expert-sql"


class Asked:
    """Counts how often it is asked who is served."""

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)
        self.times = 0

    async def __call__(self) -> frozenset[str]:
        self.times += 1
        return self.names


async def test_only_what_is_served_becomes_a_key() -> None:
    now = [0.0]
    known, served = Known(every_s=1, clock=lambda: now[0]), Asked("expert-a", "expert-b")
    assert await known.key(("expert-a", "expert-b"), served) == "expert-a+expert-b"
    assert await known.key(("expert-a", "expert-z"), served) == ""
    assert await known.key((), served) == ""
    assert served.times == 1
    now[0] = 2.0
    served.names |= {"expert-z"}
    assert await known.key(("expert-z",), served) == "expert-z"
    assert served.times == 2


async def test_compositions_are_told_apart_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affinity, "MOST_COMPOSITIONS", 2)
    known, served = Known(), Asked("expert-a", "expert-b", "expert-c")
    for names in (("expert-a", "expert-b"), ("expert-a", "expert-c")):
        assert await known.key(names, served) == "+".join(names)
    assert await known.key(("expert-b", "expert-c"), served) == "expert-b"
    assert await known.key(("expert-a", "expert-c"), served) == "expert-a+expert-c"
    assert await known.key(("expert-c",), served) == "expert-c"
