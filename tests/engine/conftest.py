"""Which LoRA operator the tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hive_expert.engine.cpu_kernel import build, choice


@pytest.fixture(autouse=True)
def torch_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test compiles the operator unless it says so; see `native`."""
    monkeypatch.setenv("HIVE_CPU_KERNEL", "torch")


@pytest.fixture(scope="session")
def native_library(request: pytest.FixtureRequest) -> Path:
    """The compiled operators; compiled once for all test runs."""
    return build.library(request.config.cache.mkdir("cpu-kernel"))


@pytest.fixture(scope="session")
def native(native_library: Path) -> choice.ApplyGroups:
    """The compiled operator for A and B; that for gains is loaded as well."""
    choice.load(native_library)
    return choice.apply_groups_natively


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
