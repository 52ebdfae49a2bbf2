"""Which LoRA operator the tests use."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def torch_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test compiles the operator unless it says so; see `native` in test_cpu_kernel."""
    monkeypatch.setenv("HIVE_CPU_KERNEL", "torch")
