"""Served log probabilities equal PEFT's own, every kind of adapter in one batch.

The benchmark's quick form: two tiny models, with fewer slots than adapters, so that slots are
used again within the batch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.e2e


def test_every_kind_of_adapter_is_served_exactly(tmp_path: Path) -> None:
    output = tmp_path / "parity.json"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "parity.py", "--quick", "--output", output],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    rows = json.loads(output.read_text())["rows"]
    assert {row["model"] for row in rows} == {"qwen3", "qwen2"}
    assert {"lora", "dora", "ia3"} < {row["kind"] for row in rows}
    assert [row for row in rows if not row["ok"]] == []
    # What was served is far from what the base model alone would have answered.
    assert all(row["effect"] > 1 for row in rows if row["kind"] != "base")
