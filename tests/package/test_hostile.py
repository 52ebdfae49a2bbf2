"""The whole corpus of malicious packages, tried in processes of their own; see `hostile`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.package.hostile.trial import Outcome, distinct

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    # A fresh process: what the tests have loaded would hide how much memory a package takes.
    command = [sys.executable, "-m", "tests.package.hostile", "--json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert run.stdout, run.stderr
    return [Outcome(**outcome) for outcome in json.loads(run.stdout)]


def test_the_corpus_is_as_large_as_promised(outcomes: list[Outcome]) -> None:
    assert len({outcome.name for outcome in outcomes}) >= 30
    assert distinct(outcomes) >= 2000
    assert all(outcome.digests for outcome in outcomes)


@pytest.mark.parametrize("what", ["accepted", "crashed", "without_reason", "left_traces"])
def test_every_package_is_refused_with_a_reason_and_leaves_nothing(
    outcomes: list[Outcome], what: str
) -> None:
    assert {o.name: getattr(o, what) for o in outcomes if getattr(o, what)} == {}


@pytest.mark.parametrize(
    ("figure", "limit"),
    [
        (lambda outcome: outcome.worst_cpu_ms, 1000),  # of the processor: the machine may be busy
        (lambda outcome: outcome.worst_mib, 64),
    ],
    ids=["milliseconds", "MiB"],
)
def test_refusing_takes_little(
    outcomes: list[Outcome], figure: Callable[[Outcome], float], limit: float
) -> None:
    assert {o.name: figure(o) for o in outcomes if figure(o) > limit} == {}
