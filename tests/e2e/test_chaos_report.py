"""Runs of the long form are added up as they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.chaos.report import SUMMED, add_runs


def a_run(fault: str, *, wrong: int = 0, slope: float = 1.5) -> dict[str, Any]:
    counts = dict.fromkeys(SUMMED, 2) | {"wrong expert": wrong}
    return counts | {
        "fault": fault,
        "operations": {"replace": 3},
        "seconds max": 4.5,
        "memory slope MiB per hour": {"all": slope},
        "ok": not wrong,
    }


def test_runs_are_kept_and_added_up(tmp_path: Path) -> None:
    path = tmp_path / "chaos.json"
    add_runs(path, [a_run("none")])
    add_runs(path, [a_run("kill")])
    told = json.loads(path.read_text())
    assert [run["fault"] for run in told["runs"]] == ["none", "kill"]
    sums = told["sums"]
    assert (sums["runs"], sums["requests"], sums["operations"]) == (2, 4, {"replace": 6})
    assert sums["memory slope MiB per hour"] == [{"all": 1.5}]
    assert sums["ok"]


def test_one_wrong_answer_spoils_the_sum(tmp_path: Path) -> None:
    path = tmp_path / "chaos.json"
    add_runs(path, [a_run("none"), a_run("clock", wrong=1)])
    assert not json.loads(path.read_text())["sums"]["ok"]
