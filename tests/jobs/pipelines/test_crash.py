"""A pipeline outlives its server, in the short form of `crash`."""

from __future__ import annotations

from pathlib import Path

from tests.jobs.pipelines.crash import run


def test_no_finished_step_is_lost_or_asked_again(tmp_path: Path) -> None:
    result = run(tmp_path, documents=300, kills=3, seed=1)
    assert result.ok, result
    assert result.results == 300
