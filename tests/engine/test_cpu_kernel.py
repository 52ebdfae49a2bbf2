"""The compiled LoRA operator and its torch twin against the dense definition in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hive_expert.engine.cpu_kernel import choice, torch_path
from hive_expert.engine.cpu_kernel.plan import Group, Plan, Run, plan_of
from hive_expert.engine.cpu_lora import runs_of
from tests.engine.lora_layers import TOLERANCE, assert_close, assert_defined, dense, layer


@pytest.fixture(params=["native", "torch"])
def apply_groups(request: pytest.FixtureRequest) -> choice.ApplyGroups:
    if request.param == "torch":
        return torch_path.apply_groups
    return request.getfixturevalue("native")


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
