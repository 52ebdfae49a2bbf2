"""A batch outlives its server, in the short form of `crash`."""

from __future__ import annotations

from pathlib import Path

from tests.jobs.crash import run


def test_every_request_has_one_answer_whatever_is_killed(tmp_path: Path) -> None:
    result = run(tmp_path, requests=1500, kills=3, seed=1, database=None)
    assert result.ok, result
    assert (result.results, result.errors) == (1350, 150)
