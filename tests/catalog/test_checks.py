"""What hive check found, by digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from hive_expert import locations
from hive_expert.catalog.checks import Check, known_checks, remember_check

CHECK = Check(reproduced=True, score=0.5, low=0.4, high=0.6, cases=100, base="b", date="2026-03-01")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path))


def test_nothing_is_known_at_first() -> None:
    assert known_checks() == {}


def test_checks_are_remembered_and_replaced() -> None:
    worse = CHECK.model_copy(update={"reproduced": False, "broken": ("benchmark_score: …",)})
    remember_check("a" * 64, CHECK)
    remember_check("b" * 64, CHECK)
    remember_check("a" * 64, worse)
    assert known_checks() == {"a" * 64: worse, "b" * 64: CHECK}


@pytest.mark.parametrize("content", ["", "{}x", '{"format": 2}', '{"checks": {"x": {}}}'])
def test_a_file_that_is_none_tells_nothing(content: str) -> None:
    locations.checks_file().parent.mkdir(parents=True)
    locations.checks_file().write_text(content)
    assert known_checks() == {}
