"""experts.lock.json: the same packages give the same file."""

from __future__ import annotations

import json

import pytest

from hive_expert.errors import InstallError
from hive_expert.sharing.lock import Installed, Lock, parse_lock
from tests.sharing.hostile.documents import INSTALLED


def entry(**changes: object) -> Installed:
    return Installed.model_validate(INSTALLED | changes)


def test_it_reads_what_it_writes() -> None:
    lock = Lock(experts={"expert-a": entry(key_id="d" * 64, publisher="Ann"), "expert-b": entry()})
    assert parse_lock(lock.to_bytes()) == lock


def test_the_order_of_installing_makes_no_difference() -> None:
    one = Lock().with_changes({"expert-a": entry()}).with_changes({"expert-b": entry()})
    other = Lock().with_changes({"expert-b": entry()}).with_changes({"expert-a": entry()})
    assert one.to_bytes() == other.to_bytes()


def test_removing_gives_back_what_was() -> None:
    before = Lock(experts={"expert-a": entry()})
    after = before.with_changes({"expert-b": entry()}).with_changes({}, ["expert-b"])
    assert after == before


def test_it_tells_neither_when_nor_where() -> None:
    text = Lock(experts={"expert-a": entry()}).to_bytes().decode()
    assert set(json.loads(text)["experts"]["expert-a"]) == set(INSTALLED)


def test_an_expert_that_is_there_twice_is_refused() -> None:
    text = Lock(experts={"expert-a": entry()}).to_bytes().decode()
    twice = text.replace('"experts": {', '"experts": {"expert-a": {},', 1)
    with pytest.raises(InstallError, match="more than once"):
        parse_lock(twice.encode())
