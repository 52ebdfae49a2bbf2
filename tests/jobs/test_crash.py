"""A batch outlives its server, in the short form of `benchmarks/jobs_crash.py --fake`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from jobs_crash_subjects import FakeServer
from jobs_deaths import Plan, run


def untold(*_what: Any) -> None:
    pass


def test_every_request_has_one_answer_whatever_is_killed(tmp_path: Path) -> None:
    plan = Plan(requests=1500, kills=3, life_s=1.2, seed=1)
    _, verdict = run(FakeServer(tmp_path), tmp_path, plan, untold, math.inf)
    assert verdict is not None
    assert verdict.ok, verdict
    assert (verdict.results, verdict.errors) == (1350, 150)


def test_a_run_that_is_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    plan = Plan(requests=100, kills=1, life_s=0)
    record, verdict = run(FakeServer(tmp_path), tmp_path, plan, untold, -math.inf)
    assert (record.kills, verdict) == (0, None)
    began, _ = run(FakeServer(tmp_path), tmp_path, plan, untold, math.inf)
    again, verdict = run(FakeServer(tmp_path), tmp_path, plan, untold, math.inf)
    assert again.batch == began.batch
    assert again.kills == 1
    assert verdict is not None
    assert verdict.ok, verdict
