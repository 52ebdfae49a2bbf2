"""`kill -9` while a package is installed: old state or new, and the next start cleans up.

`python -m tests.package.crash --random 1000` looks longer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RANDOM_KILLS = 80


@pytest.fixture(scope="module")
def campaign() -> dict[str, Any]:
    # Every trial is checked where it is made, in a process that may fork: see `crash`.
    run = subprocess.run(
        [sys.executable, "-m", "tests.package.crash", "--random", str(RANDOM_KILLS)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def test_every_kill_leaves_the_old_state_or_the_new_one(campaign: dict[str, Any]) -> None:
    kills = RANDOM_KILLS + campaign["kills_before_a_system_call"]
    assert campaign["kills_before_a_system_call"] > 100
    assert sum(campaign["outcomes"].values()) == kills


def test_the_kills_are_spread_over_the_whole_of_it(campaign: dict[str, Any]) -> None:
    """Trials that all came before or all came after would have shown nothing."""
    assert all(campaign["outcomes"].values())
    assert campaign["random_outcomes"]["old"] > 5
    assert campaign["random_outcomes"]["old"] < RANDOM_KILLS
    assert campaign["with_leftovers"] > 50
