"""Answers that outlive the check that asked for them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hive_expert.errors import HiveError
from hive_expert.training.cases import TestCase
from hive_expert.training.evaluate import Answer, Contestant
from hive_expert.training.kept_answers import KeptAnswers

EXPERT = Contestant("expert-x@0.1.0", "grammar")
BASE = Contestant("base", "no-grammar")
ANSWER = Answer("SELECT '\u00e9\n';", "", 0.5, 7)


def case(name: str) -> TestCase:
    return TestCase(name, "", (), "x")


@pytest.fixture
def kept(tmp_path: Path) -> KeptAnswers:
    return KeptAnswers.of(tmp_path / "checks", "digest", "base")


def test_nothing_is_kept_at_first(kept: KeptAnswers) -> None:
    assert kept.load() == {}
    kept.forget()


def test_what_was_added_is_there(kept: KeptAnswers) -> None:
    failed = Answer("", "BadRequestError: too long", 0.1, 0)
    kept.add(EXPERT, case("1"), ANSWER)
    kept.add(BASE, case("1"), failed)
    again = KeptAnswers.of(kept.path.parent, "digest", "base")
    assert again.load() == {(EXPERT, "1"): ANSWER, (BASE, "1"): failed}
    again.forget()
    assert kept.load() == {}


def test_other_questions_have_other_answers(kept: KeptAnswers) -> None:
    kept.add(EXPERT, case("1"), ANSWER)
    assert KeptAnswers.of(kept.path.parent, "digest", "other base").load() == {}
    assert KeptAnswers.of(kept.path.parent, "digestbase").load() == {}


def test_what_is_lost_is_not_kept(kept: KeptAnswers) -> None:
    kept.add(EXPERT, case("1"), Answer("", "APIConnectionError", 0.1, 0, lost=True))
    assert kept.load() == {}


def test_a_torn_line_is_no_answer(kept: KeptAnswers) -> None:
    kept.add(EXPERT, case("1"), ANSWER)
    kept.add(EXPERT, case("2"), ANSWER)
    whole = kept.path.read_bytes()
    for length in range(len(whole)):
        kept.path.write_bytes(whole[:length])
        assert set(kept.load()) <= {(EXPERT, "1"), (EXPERT, "2")}
        assert set(kept.load().values()) <= {ANSWER}


def test_old_answers_are_forgotten(kept: KeptAnswers) -> None:
    kept.add(EXPERT, case("1"), ANSWER)
    os.utime(kept.path, (0, 0))
    assert kept.load() == {}
    assert not kept.path.exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HiveError, match="cannot be written"):
        KeptAnswers.of(tmp_path / "file").add(EXPERT, case("1"), ANSWER)
