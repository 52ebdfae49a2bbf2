"""A pipeline outlives its server, in the short form of `benchmarks/jobs_crash.py --pipeline`."""

from __future__ import annotations

import math
from pathlib import Path

from jobs_crash_subjects import PipelineServer
from jobs_deaths import Plan, run

from tests.jobs.test_crash import untold


def test_no_finished_step_is_lost_or_asked_again(tmp_path: Path) -> None:
    subject = PipelineServer(tmp_path)
    plan = Plan(requests=300, kills=3, life_s=1, seed=1)
    record, verdict = run(subject, tmp_path, plan, untold, math.inf, subject.look)
    assert verdict is not None
    assert verdict.ok, verdict
    assert verdict.results == 300
    assert record.repeated == 0
