"""The gains' Triton kernel where there is no GPU: run by Triton's interpreter, and compiled.

Triton is not part of the environment: nothing else on the CPU uses it, and in vLLM's process it
prints warnings at exit. `make test` puts it into a folder of its own, which only the processes
started here see.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TRITON = Path(sys.prefix) / "triton"


def run_with_triton(file: Path, cache: Path, **environment: str) -> str:
    """What pytest says of a file, in a process that has Triton."""
    if not (TRITON / ".ready").is_file():
        pytest.fail(f"no Triton in {TRITON}: `make unit` puts it there")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
        cwd=HERE.parents[1],
        env=os.environ | {"PYTHONPATH": str(TRITON), "TRITON_CACHE_DIR": str(cache)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_kernel_computes_what_it_should(tmp_path: Path) -> None:
    said = run_with_triton(HERE / "interpreted_gains.py", tmp_path, TRITON_INTERPRET="1")
    assert "passed" in said


def test_the_kernel_compiles_for_gpus(tmp_path: Path) -> None:
    said = run_with_triton(HERE / "compiled_gains.py", tmp_path, TRITON_INTERPRET="0")
    assert "passed" in said
