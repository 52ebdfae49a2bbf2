"""The compiled LoRA operator and its torch twin against the dense definition in float64."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.lora.layers import LoRAMapping

from hive_expert.engine.cpu_kernel import build, choice, torch_path
from hive_expert.engine.cpu_kernel.plan import LONG, Group, Plan, Run, plan_of
from hive_expert.engine.cpu_lora import RunPunicaWrapper, runs_of
from hive_expert.errors import EngineError

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Largest error allowed, relative to the largest number in the result."""


@pytest.fixture(params=["native", "torch"])
def apply_groups(request: pytest.FixtureRequest) -> choice.ApplyGroups:
    if request.param == "torch":
        return torch_path.apply_groups
    return request.getfixturevalue("native")


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Layer:
    """One wrapped layer's input, output and adapters."""

    slots: list[int]
    x: torch.Tensor
    y: torch.Tensor
    a: tuple[torch.Tensor, ...]
    b: tuple[torch.Tensor, ...]

    @property
    def plan(self) -> Plan:
        return plan_of(runs_of(torch.tensor(self.slots, dtype=torch.long)), long=1_000_000)


def layer(
    slots: list[int],
    *,
    rank: int = 16,
    width: int = 48,
    outs: tuple[int, ...] = (32, 16, 16),
    dtype: torch.dtype = torch.float32,
    used_rank: int | None = None,
    seed: int = 0,
) -> Layer:
    """Random numbers; slots up to the largest used, and one more."""
    generator = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    count = max([0, *slots]) + 2
    a = tuple(some(count, 1, rank, width) for _ in outs)
    b = tuple(some(count, 1, out, rank) for out in outs)
    for a_slice, b_slice in zip(a, b, strict=True):
        a_slice[:, :, used_rank:] = 0 if used_rank is not None else a_slice[:, :, used_rank:]
        b_slice[..., used_rank:] = 0 if used_rank is not None else b_slice[..., used_rank:]
    return Layer(slots, some(len(slots), width), some(len(slots), sum(outs)), a, b)


def dense(given: Layer, scale: float) -> torch.Tensor:
    """The definition, token by token, in float64."""
    y = given.y.double()
    for token, slot in enumerate(given.slots):
        if slot >= 0:
            x = given.x[token].double()
            parts = [
                b[slot, 0].double() @ (a[slot, 0].double() @ x)
                for a, b in zip(given.a, given.b, strict=True)
            ]
            y[token] += scale * torch.cat(parts)
    return y


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    largest = max(float(expected.abs().max()), 1e-30) if expected.numel() else 1.0
    error = float((found.double() - expected).abs().max()) if expected.numel() else 0.0
    assert error <= TOLERANCE[found.dtype] * largest


def assert_defined(
    apply_groups: choice.ApplyGroups, given: Layer, scale: float = 1.0
) -> torch.Tensor:
    y = given.y.clone()
    apply_groups(y, given.x, given.a, given.b, given.plan, scale)
    assert_close(y, dense(given, scale))
    return y


BATCHES = [
    [0],
    [0, 1, 2, 3, 4, 5, 6, 7] * 2,
    [2, -1, 2, 2, 0, -1, 0],
    [5, 5, 5, 5, 5, 5, 5],
    [0, 7],
    [1] * 40 + [-1] + [0] * 3,
    [2] * 79 + [-1, 0] + [2] * 18 + [0] * 131,
]

MANY = [1] * 19 + [0] * 3 + [1] * 50
"""Tokens enough for the operator's own way with large groups, and left-overs of each size."""


@pytest.mark.parametrize("slots", BATCHES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_equals_the_definition(
    apply_groups: choice.ApplyGroups, slots: list[int], dtype: torch.dtype, threads: int
) -> None:
    assert_defined(apply_groups, layer(slots, dtype=dtype), scale=0.5)


@pytest.mark.parametrize("slots", [[0, 1, 1, -1, 2], MANY], ids=["few", "many"])
@pytest.mark.parametrize("rank", [1, 2, 7, 8, 15, 16, 17, 32, 64, 512])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_every_rank(
    apply_groups: choice.ApplyGroups, rank: int, dtype: torch.dtype, slots: list[int]
) -> None:
    assert_defined(apply_groups, layer(slots, rank=rank, dtype=dtype))


def test_a_rank_below_that_of_the_slots(apply_groups: choice.ApplyGroups) -> None:
    assert_defined(apply_groups, layer([0, 1, 1], rank=32, used_rank=5))


@pytest.mark.parametrize("slots", [[1, 0, 1], MANY], ids=["few", "many"])
@pytest.mark.parametrize("width", [1, 2, 15, 16, 31, 34, 576])
@pytest.mark.parametrize("outs", [(1,), (17, 3), (576, 192, 192), (1536, 1536)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_width(
    apply_groups: choice.ApplyGroups,
    width: int,
    outs: tuple[int, ...],
    threads: int,
    dtype: torch.dtype,
    slots: list[int],
) -> None:
    assert_defined(apply_groups, layer(slots, width=width, outs=outs, dtype=dtype))


@given(
    slots=st.lists(st.integers(-1, 6), min_size=1, max_size=50)
    | st.lists(st.integers(-1, 1), min_size=40, max_size=90).map(sorted),
    rank=st.integers(1, 64),
    width=st.integers(1, 70),
    outs=st.lists(st.integers(1, 70), min_size=1, max_size=3),
    dtype=st.sampled_from(list(TOLERANCE)),
    scale=st.sampled_from([1.0, 0.25, -2.0]),
)
@settings(deadline=None)
def test_both_equal_the_definition_and_each_other(
    native: choice.ApplyGroups,
    slots: list[int],
    rank: int,
    width: int,
    outs: list[int],
    dtype: torch.dtype,
    scale: float,
) -> None:
    batch = layer(slots, rank=rank, width=width, outs=tuple(outs), dtype=dtype)
    ours = assert_defined(native, batch, scale)
    theirs = assert_defined(torch_path.apply_groups, batch, scale)
    assert_close(ours, theirs.double())


def test_tokens_without_adapter_stay_as_they_are(apply_groups: choice.ApplyGroups) -> None:
    batch = layer([-1, 3, -1], dtype=torch.bfloat16)
    y = assert_defined(apply_groups, batch)
    assert torch.equal(y[[0, 2]], batch.y[[0, 2]])


@pytest.mark.parametrize("slots", [[], [-1], [-1, -1, -1]])
def test_a_step_without_adapters(apply_groups: choice.ApplyGroups, slots: list[int]) -> None:
    batch = layer(slots)
    y = batch.y.clone()
    apply_groups(y, batch.x, batch.a, batch.b, batch.plan, 1.0)
    assert torch.equal(y, batch.y)


def test_rows_of_larger_matrices(apply_groups: choice.ApplyGroups) -> None:
    batch = layer([0, 1, -1, 1])
    wide_x, wide_y = torch.randn(4, 100), torch.randn(4, 90)
    x, y = wide_x[:, 7:55], wide_y[:, 11:75]
    x.copy_(batch.x)
    y.copy_(batch.y)
    before = wide_y.clone()
    apply_groups(y, x, batch.a, batch.b, batch.plan, 1.0)
    assert_close(y, dense(batch, 1.0))
    assert torch.equal(wide_y[:, :11], before[:, :11])
    assert torch.equal(wide_y[:, 75:], before[:, 75:])


def test_a_slot_that_changes_between_steps(apply_groups: choice.ApplyGroups) -> None:
    batch = layer([0, 1, 2, 3])
    assert_defined(apply_groups, batch)
    for tensor in (*batch.a, *batch.b):
        tensor[1] = torch.randn(tensor[1].shape)
        tensor[2] = 0
    assert_defined(apply_groups, batch)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_what_is_no_number_stays_in_its_own_row(
    apply_groups: choice.ApplyGroups, value: float, dtype: torch.dtype
) -> None:
    batch = layer([0, 0, 1, 1], rank=5, width=19, outs=(9,), dtype=dtype)
    batch.x[1, 3] = value
    y = batch.y.clone()
    apply_groups(y, batch.x, batch.a, batch.b, batch.plan, 1.0)
    assert not y[1].isfinite().any()
    assert y[[0, 2, 3]].isfinite().all()


def test_a_number_too_large_for_the_type_becomes_infinite(native: choice.ApplyGroups) -> None:
    batch = layer([0], rank=1, width=1, outs=(1,), dtype=torch.float16)
    for tensor in (batch.x, batch.y, *batch.a, *batch.b):
        tensor.fill_(60000)
    native(batch.y, batch.x, batch.a, batch.b, batch.plan, 1.0)
    assert batch.y.item() == float("inf")


@dataclass(frozen=True)
class Spoiled:
    """One thing that is wrong with a call of the operator."""

    says: str
    x: Callable[[torch.Tensor], torch.Tensor] = lambda x: x
    y: Callable[[torch.Tensor], torch.Tensor] = lambda y: y
    a: Callable[[torch.Tensor], torch.Tensor] = lambda a: a
    b: Callable[[torch.Tensor], torch.Tensor] = lambda b: b
    plan: Callable[[Plan], Plan] = lambda plan: plan


def plan_with(group: Group) -> Callable[[Plan], Plan]:
    return lambda plan: Plan((), (group,), plan.tokens, torch.tensor([group]))


SPOILED = {
    "slot": Spoiled("no slot", plan=plan_with(Group(9, 0, 1))),
    "negative slot": Spoiled("no slot", plan=plan_with(Group(-1, 0, 1))),
    "group": Spoiled("outside of the list", plan=plan_with(Group(0, 0, 5))),
    "token": Spoiled("no token", x=lambda x: x[:1], y=lambda y: y[:1]),
    "narrow x": Spoiled("columns", x=lambda x: x[:, :-1]),
    "narrow y": Spoiled("outputs", y=lambda y: y[:, :-1]),
    "transposed x": Spoiled("contiguous rows", x=lambda x: x.t().contiguous().t()),
    "type of y": Spoiled("one type", y=lambda y: y.double()),
    "type of a": Spoiled("one type", a=lambda a: a.half()),
    "double": Spoiled("unsupported", x=lambda x: x.double(), y=lambda y: y.double()),
    "rank": Spoiled("rank", b=lambda b: b[..., :-1].contiguous()),
    "strided a": Spoiled("contiguous", a=lambda a: a[:, :, ::2]),
    "slots": Spoiled("slots", b=lambda b: b[:-1]),
}


@pytest.mark.parametrize("name", SPOILED)
def test_the_operator_refuses_what_it_would_compute_wrongly(
    native: choice.ApplyGroups, name: str
) -> None:
    spoiled, batch = SPOILED[name], layer([0, 1])
    y, x = spoiled.y(batch.y.clone()), spoiled.x(batch.x)
    a, b = tuple(map(spoiled.a, batch.a)), tuple(map(spoiled.b, batch.b))
    with pytest.raises(RuntimeError, match=spoiled.says):
        native(y, x, a, b, spoiled.plan(batch.plan), 1.0)


@given(slots=st.lists(st.integers(-1, 4), max_size=60), long=st.integers(1, 9))
def test_a_plan_holds_each_adapted_token_once(slots: list[int], long: int) -> None:
    plan = plan_of(runs_of(torch.tensor(slots, dtype=torch.long)), long=long)
    found = [(t, run.slot) for run in plan.long for t in range(run.start, run.end)]
    for group in plan.groups:
        found += [(int(t), group.slot) for t in plan.tokens[group.start : group.end]]
    assert sorted(found) == [(t, slot) for t, slot in enumerate(slots) if slot >= 0]
    assert all(run.end - run.start >= long for run in plan.long)
    used = [group.slot for group in plan.groups]
    assert used == sorted(set(used))
    assert [list(group) for group in plan.groups] == plan.group_table.tolist()


def test_long_runs_and_groups_make_one_step() -> None:
    plan = plan_of([Run(1, 0, 3), Run(0, 3, 103), Run(1, 103, 104)])
    assert plan.long == (Run(0, 3, 103),)
    assert plan.groups == (Group(1, 0, 4),)
    assert plan.tokens.tolist() == [0, 1, 2, 103]


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


def gains_case(dtype: torch.dtype, width: int, tokens: list[int]) -> tuple[torch.Tensor, ...]:
    """Values, factors, addends and which slots are active: 0 and 2 of three."""
    generator = torch.Generator().manual_seed(width)
    values, factors, addends = (
        torch.randn(rows, width, generator=generator).to(dtype) for rows in (len(tokens), 4, 4)
    )
    return values, factors, addends, torch.tensor([1, 0, 1, 0], dtype=torch.int8)


def gains_expected(
    values: torch.Tensor, factors: torch.Tensor, addends: torch.Tensor | None, tokens: list[int]
) -> torch.Tensor:
    rows = values.double()
    for row, slot in enumerate(tokens):
        if slot in (0, 2):
            rows[row] = rows[row] * (1 + factors[slot].double())
            if addends is not None:
                rows[row] += addends[slot].double()
    return rows


TOKENS = [0, -1, 2, 1, 0, 2, -1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [1, 15, 16, 33, 576, 6000])
@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.usefixtures("native", "threads")
def test_gains_are_those_of_each_tokens_slot(
    dtype: torch.dtype, width: int, shifted: bool, in_place: bool
) -> None:
    values, factors, addends, active = gains_case(dtype, width, TOKENS)
    shifts = addends if shifted else None
    before = values.clone()
    expected = gains_expected(values, factors, shifts, TOKENS)
    index = torch.tensor(TOKENS)
    found = choice.apply_gains_natively(values, factors, shifts, index, active, in_place=in_place)
    assert torch.allclose(found.double(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert torch.equal(values, found if in_place else before)
    # Tokens without gains are left alone to the bit.
    untouched = [row for row, slot in enumerate(TOKENS) if slot not in (0, 2)]
    assert torch.equal(found[untouched], before[untouched])


@pytest.mark.usefixtures("native")
def test_gains_take_rows_that_lie_apart() -> None:
    wide, factors, addends, active = gains_case(torch.float32, 48, TOKENS)
    values, some = wide[:, :32], (factors[:, :32].contiguous(), addends[:, :32].contiguous())
    expected, rest = gains_expected(values, *some, TOKENS), wide[:, 32:].clone()
    index = torch.tensor(TOKENS)
    found = choice.apply_gains_natively(values, *some, index, active, in_place=True)
    assert torch.allclose(found.double(), expected, atol=1e-5)
    assert torch.equal(wide[:, 32:], rest)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"index": torch.tensor([4] * 7)}, "no slot 4"),
        ({"index": torch.tensor([-2] * 7)}, "no slot -2"),
        ({"index": torch.tensor([0])}, "an entry for each token"),
        ({"factors": torch.zeros(3, 8)}, "a row for each flag"),
        ({"factors": torch.zeros(4, 7)}, "a row for each flag"),
        ({"addends": torch.zeros(4, 8, dtype=torch.float16)}, "a row for each flag"),
        ({"values": torch.zeros(8, 7).t()}, "contiguous rows"),
    ],
)
@pytest.mark.usefixtures("native")
def test_gains_of_other_shapes_are_refused(wrong: dict[str, torch.Tensor], says: str) -> None:
    values, factors, addends, active = gains_case(torch.float32, 8, TOKENS)
    right = {"values": values, "factors": factors, "addends": addends, "active": active}
    with pytest.raises(RuntimeError, match=says):
        choice.apply_gains_natively(
            **{**right, "index": torch.tensor(TOKENS), **wrong}, in_place=True
        )
