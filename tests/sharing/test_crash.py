"""`kill -9` during installations, in short; `python -m tests.sharing.crash` takes longer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RANDOM_KILLS = 4
EVERY = 10


def test_every_kill_leaves_the_old_state_or_the_new_one() -> None:
    # Every trial is checked where it is made, in a process that may fork: see `crash`.
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.sharing.crash",
            "--random",
            str(RANDOM_KILLS),
            "--every",
            str(EVERY),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for name, result in json.loads(done.stdout).items():
        steps = result["kills_before_one_of_them"]
        assert steps >= 10, name
        assert sum(result["outcomes"].values()) == RANDOM_KILLS + steps, name
        # Trials that all came before or all came after would have shown nothing.
        assert all(result["outcomes"].values()), name
        assert result["finished_by_the_next_start"] > 3, name
