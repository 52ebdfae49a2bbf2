"""Adapters come and go under running requests, on real vLLM; every answer is PEFT's own.

The benchmark's quick form: 300 operations drawn by a seed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("kernel", ["auto", "torch"])
def test_every_answer_is_that_of_the_adapter_alone(kernel: str, tmp_path: Path) -> None:
    output = tmp_path / "interleavings.json"
    program = ROOT / "benchmarks" / "interleavings.py"
    done = subprocess.run(
        [sys.executable, program, "--quick", "--seed", "1", "--output", output],
        env=os.environ | {"HIVE_CPU_KERNEL": kernel},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(output.read_text())
    assert found["ok"], f"{found}\n{done.stderr[-4000:]}"
    assert (found["wrong"], found["left_registered"], found["left_in_slots"]) == (0, 0, 0)
    # All of it happened, and a mix-up would have shown.
    for operation in (
        "unload: at once",
        "unload: in use",
        "load broken",
        "ask what overflows",
        "leave",
    ):
        assert found["counts"][operation] > 5
    # Some of their clients leave first.
    assert found["counts"]["given up"] > 0
    assert found["answers"] > 100
    assert found["reads_from_disk"] > found["counts"]["load: disk"]
    assert found["counts"]["cached prompt tokens"] > 1000
    assert found["alike"] == 0
