"""A counted run goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.tally import Tally


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    first = Tally.begin(path)
    first.note("json", "0 \ud83d", {"valid": True, "ms": 1.5})
    first.note("json", "1", {"problem": "cut off"})
    first.note("sql", "0", {"valid": False})
    first.note_neighbours(3, ["expert-sql: [1], not [2]"])
    first.write({"schemas": 2})
    again = Tally.begin(path)
    assert again == first
    assert json.loads(path.read_text())["figures"] == {
        "schemas": 2,
        "neighbours": {"answers": 3, "changed": 1},
    }


def test_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for case in "abc":
        tally = Tally.begin(path)
        tally.note("json", case, {"n": 1})
        tally.note_neighbours(2, [])
        tally.write({})
    tally = Tally.begin(path)
    assert [tally.has("json", case) for case in "acd"] == [True, True, False]
    assert tally.of("json") == [{"n": 1}] * 3
    assert tally.of("sql") == []
    assert tally.neighbours == {"answers": 6, "changed": 0}


def test_whatever_is_wrong_has_a_line() -> None:
    tally = Tally()
    tally.note("json", "0", {"valid": True})
    tally.note("json", "1", {"problem": "cut off"})
    tally.note_neighbours(1, ["base: [1]"])
    assert list(tally.wrong()) == ["json: 1: cut off", "base: [1]"]


def test_nothing_is_kept_without_a_file() -> None:
    tally = Tally.begin(None)
    tally.write({"schemas": 1})
    assert tally.path is None
