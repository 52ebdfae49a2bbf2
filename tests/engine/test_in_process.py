"""Where the worker runs, and on how many cores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from vllm.config import ParallelConfig, VllmConfig
from vllm.utils.cpu_resource_utils import LogicalCPUInfo
from vllm.v1.executor.abstract import Executor

from hive_expert.adapters.base_model import BaseModel
from hive_expert.engine import in_process
from hive_expert.engine.launch import EngineSettings, parse_arguments

SETTINGS = EngineSettings(BaseModel(("Tiny",), Path("/models/tiny")))


@pytest.fixture(autouse=True)
def unbound(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in in_process.BINDING:
        monkeypatch.delenv(name, raising=False)


def test_vllm_takes_our_executor_and_leaves_it() -> None:
    backend = parse_arguments(SETTINGS).distributed_executor_backend
    config = VllmConfig(parallel_config=ParallelConfig(distributed_executor_backend=backend))
    assert Executor.get_class(config) is in_process.InProcessExecutor


def test_vllm_would_otherwise_start_a_process() -> None:
    """What all this is for; once it is false, vLLM needs no executor of ours."""
    config = VllmConfig(parallel_config=ParallelConfig())
    assert config.parallel_config.distributed_executor_backend == "mp"


def test_divided_layers_are_left_to_vllm() -> None:
    split = replace(SETTINGS, tensor_parallel_size=2)
    assert parse_arguments(split).distributed_executor_backend is None


@pytest.mark.parametrize(
    ("name", "value", "possible"),
    [
        ("VLLM_CPU_OMP_THREADS_BIND", "0-1", False),
        ("VLLM_CPU_OMP_THREADS_BIND", "auto", False),
        ("VLLM_CPU_OMP_THREADS_BIND", "nobind", True),
        ("VLLM_CPU_NUM_OF_RESERVED_CPU", "1", False),
    ],
)
def test_a_user_who_binds_workers_gets_vllms_executor(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, possible: bool
) -> None:
    monkeypatch.setenv(name, value)
    assert in_process.is_possible(1) is possible


def test_threads_are_ours_to_set_only_where_the_engine_computes() -> None:
    assert in_process.environment(1) == {"OMP_NUM_THREADS": str(in_process.threads())}
    assert in_process.environment(2) == {}


@pytest.mark.parametrize(
    ("physical_cores", "quota", "threads"),
    [
        ([0], 8, 1),
        ([0, 1], 8, 1),
        ([0, 0, 1, 1], 8, 1),
        ([0, 1, 2, 3], 8, 3),
        ([0, 1, 2, 3], 3, 2),
        ([0, 1, 2, 3], 1, 1),
    ],
    ids=[
        "one",
        "two",
        "two with two threads each",
        "four",
        "three of four by quota",
        "quota of one",
    ],
)
def test_threads(
    monkeypatch: pytest.MonkeyPatch, physical_cores: list[int], quota: int, threads: int
) -> None:
    cpus = [LogicalCPUInfo(id=i, physical_core=c) for i, c in enumerate(physical_cores)]
    monkeypatch.setattr(in_process, "get_allowed_cpu_list", lambda: cpus)
    monkeypatch.setattr(in_process, "available_cpu_count", lambda: quota)
    assert in_process.threads() == threads
