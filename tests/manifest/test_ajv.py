"""The JSON Schema by another reader than ours: ajv, in strict mode, run by Node."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.node

ROOT = Path(__file__).parents[2]


def test_ajv_accepts_what_ships_and_refuses_an_unknown_key() -> None:
    done = subprocess.run(["make", "ajv"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("expert-sql", "expert-json"):
        assert f"experts/{name}/manifest.json valid" in done.stdout
    assert "unknown-key.json passed test" in done.stdout
