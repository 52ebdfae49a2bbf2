"""Which of the compiled operator and torch computes, and how the operator comes about."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from vllm.lora.layers import LoRAMapping

from hive_expert.engine.cpu_kernel import build, choice, torch_path
from hive_expert.engine.cpu_kernel.plan import LONG
from hive_expert.engine.cpu_lora import RunPunicaWrapper
from hive_expert.errors import EngineError
from tests.engine.lora_layers import assert_close, assert_defined, dense, layer


def test_the_file_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The compiler is a stand-in that writes its output's name: no time to compile twice here.
    compiler = tmp_path / "fake-compiler"
    compiler.write_text(
        '#!/bin/sh\necho x >> "$(dirname "$0")/calls"\n'
        'while [ "$1" != -o ]; do shift; done; echo compiled > "$2"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    first = build.library(tmp_path / "cache")
    assert build.library(tmp_path / "cache") == first
    assert first.read_text() == "compiled\n"
    calls = (tmp_path / "calls").read_text().count("x")
    assert calls == len(build.SOURCES) + 1, "each is compiled once, and all are linked once"
    assert [p.name for p in first.parent.iterdir()] == [build.LIBRARY]


def test_a_failing_compiler_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(EngineError, match="false failed"):
        build.library(tmp_path)
    assert not list(tmp_path.rglob("*.so"))


def test_another_source_or_machine_is_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {build._key()}
    monkeypatch.setattr(build, "FLAGS", ("-O0",))
    keys.add(build._key())
    monkeypatch.setattr(build, "_cpu_features", lambda: "another")
    keys.add(build._key())
    assert len(keys) == 3


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_torch_computes_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(choice.VARIABLE, "auto")
    wrapper = RunPunicaWrapper(64, 16, "cpu")
    assert wrapper.kernel.startswith("torch (CPU operators: there is no C++ compiler")
    assert "install g++" in caplog.text
    batch = layer([0, -1, 0])
    assert_defined(choice.choose().apply_groups, batch)


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_native_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, "native")
    with pytest.raises(EngineError, match=r"no C\+\+ compiler"):
        choice.choose()


def test_a_wrapper_computes_by_the_operator_where_it_can_be_had(
    native: choice.ApplyGroups,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    compiled = request.config.cache.mkdir("cpu-kernel")
    monkeypatch.setattr(build, "default_folder", lambda: compiled)
    monkeypatch.setenv(choice.VARIABLE, "native")
    wrapper = RunPunicaWrapper(64, 16, "cpu")
    assert wrapper.kernel.startswith("native (")
    wrapper.update_metadata(LoRAMapping((1, 0, 2), (0,), is_prefill=False), [1, 2], 3, 100)
    batch = layer([0, -1, 1])
    y = batch.y.clone()
    wrapper.add_lora_linear(y, batch.x, batch.a, batch.b, 1.0, (32, 16, 16))
    assert_close(y, dense(batch, 1.0))


@pytest.mark.parametrize(
    ("dots", "dtype", "long"),
    [
        (True, torch.bfloat16, sys.maxsize),
        (True, torch.float32, LONG),
        (False, torch.bfloat16, LONG),
    ],
)
def test_long_runs_are_left_to_gemms_where_those_are_faster(
    dots: bool, dtype: torch.dtype, long: int
) -> None:
    found = choice.Choice("native", "a test", torch_path.apply_groups, bf16_dots=dots)
    assert found.long_from(dtype) == long


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_of_any_type_is_planned_for_it(dtype: torch.dtype) -> None:
    wrapper = RunPunicaWrapper(512, 16, "cpu")
    batch = layer([0] * 120 + [-1] * 2 + [1] * 120, dtype=dtype)
    ids = tuple(slot + 1 for slot in batch.slots)
    wrapper.update_metadata(LoRAMapping(ids, (0,), is_prefill=True), [1, 2], 3, 100)
    y = batch.y.clone()
    wrapper.add_lora_linear(y, batch.x, batch.a, batch.b, 1.0, (32, 16, 16))
    assert_close(y, dense(batch, 1.0))


def test_a_damaged_file_is_not_used(tmp_path: Path) -> None:
    # In a process of its own: here the operator may be loaded already.
    file = tmp_path / "lora_apply.so"
    file.write_bytes(b"not a library")
    code = (
        "import sys; from pathlib import Path; from hive_expert.engine.cpu_kernel import choice; "
        "choice.build.library = lambda: Path(sys.argv[1]); print(choice.choose())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, file],
        env=os.environ | {choice.VARIABLE: "auto"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"torch ({file}: does not load")


def test_an_operator_that_computes_something_else_is_refused(
    native: choice.ApplyGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "apply_groups_natively", lambda *_: None)
    with pytest.raises(EngineError, match="differ from those of torch"):
        choice.load(Path("lora_apply.so"))


def test_a_wish_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, "fast")
    with pytest.raises(EngineError, match="auto, native, torch"):
        choice.choose()


def test_torch_can_be_asked_for() -> None:
    assert RunPunicaWrapper(64, 16, "cpu").kernel == "torch (HIVE_CPU_KERNEL=torch)"
