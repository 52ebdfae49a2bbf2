"""The Triton kernel of the gains, run by Triton's interpreter on the CPU.

`test_gains_triton` runs this file, in a process that has Triton and TRITON_INTERPRET=1.
"""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hive_expert.engine.gains_triton import MAX_BLOCK, apply_gains

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def table(slots: int, width: int, dtype: torch.dtype, rng: torch.Generator) -> Tensor:
    """As the layers have them: a row for each slot and a last one of zeros."""
    rows = torch.randn(slots + 1, width, generator=rng).to(dtype)
    rows[-1] = 0
    return rows


def strided(rows: int, width: int, dtype: torch.dtype, layout: str, rng: torch.Generator) -> Tensor:
    """Random values, contiguous or a view of something larger or turned."""
    if layout == "transposed":
        return torch.randn(width, rows, generator=rng).to(dtype).T
    if layout == "columns of more":
        return torch.randn(rows, 2 * width + 3, generator=rng).to(dtype)[:, 2 : width + 2]
    if layout == "every second column":
        return torch.randn(rows, 2 * width, generator=rng).to(dtype)[:, ::2]
    return torch.randn(rows, width, generator=rng).to(dtype)


def definition(values: Tensor, factors: Tensor, addends: Tensor | None, index: Tensor) -> Tensor:
    """In float64, the slot -1 being the last row."""
    wide = values.double() * (1 + factors.double()[index])
    return wide if addends is None else wide + addends.double()[index]


def tolerance(values: Tensor, factors: Tensor, addends: Tensor | None, index: Tensor) -> Tensor:
    """One unit of the result's last place, for the interpreter cuts off where a GPU rounds, and
    three roundings in float32 of the largest number on the way."""
    exact = definition(values, factors, addends, index).abs()
    largest = values.double().abs() * (1 + factors.double()[index].abs())
    if addends is not None:
        largest += addends.double()[index].abs()
    last = exact * torch.finfo(values.dtype).eps + torch.finfo(values.dtype).smallest_normal
    return last + 3 * largest * torch.finfo(torch.float32).eps


widths = st.integers(1, 70) | st.integers(MAX_BLOCK - 1, 2 * MAX_BLOCK + 1)
layouts = st.sampled_from(["plain", "transposed", "columns of more", "every second column"])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    slots=st.lists(st.integers(-1, 2), max_size=6),
    width=widths,
    dtype=st.sampled_from(DTYPES),
    table_dtype=st.sampled_from(DTYPES),
    layout=layouts,
    adds=st.booleans(),
    inactive=st.none() | st.sets(st.integers(0, 2)),
    in_place=st.booleans(),
    long_index=st.booleans(),
    seed=st.integers(0, 2**31),
)
@example([], 5, torch.float32, torch.float32, "plain", True, None, True, True, 0)
@example(
    [0, -1, 1], 2 * MAX_BLOCK + 1, torch.bfloat16, torch.bfloat16, "plain", True, {1}, True, True, 0
)
def test_every_row_is_that_of_the_definition(
    slots: list[int],
    width: int,
    dtype: torch.dtype,
    table_dtype: torch.dtype,
    layout: str,
    adds: bool,
    inactive: set[int] | None,
    in_place: bool,
    long_index: bool,
    seed: int,
) -> None:
    rng = torch.Generator().manual_seed(seed)
    values = strided(len(slots), width, dtype, layout, rng)
    factors = table(3, width, table_dtype, rng)
    addends = table(3, width, table_dtype, rng) if adds else None
    active = None
    if inactive is not None:
        active = torch.tensor([s not in inactive for s in (0, 1, 2)] + [False], dtype=torch.int8)
        for slot in inactive:
            factors[slot] = 0
            if addends is not None:
                addends[slot] = 0
    index = torch.tensor(slots, dtype=torch.int64 if long_index else torch.int32)
    before = values.clone()

    found = apply_gains(values, factors, addends, index, active, in_place=in_place)

    assert found.shape == before.shape
    assert found.dtype == dtype
    assert (found is values) == in_place
    if not in_place:
        assert torch.equal(values, before)
    rows = index.long()
    error = (found.double() - definition(before, factors, addends, rows)).abs()
    assert torch.all(error <= tolerance(before, factors, addends, rows))
    untouched = torch.tensor([s < 0 or s in (inactive or ()) for s in slots], dtype=torch.bool)
    assert torch.equal(found[untouched], before[untouched])


def test_columns_beside_a_view_are_left_alone() -> None:
    whole = torch.ones(3, 11)
    factors = torch.ones(2, 5)
    apply_gains(whole[:, 3:8], factors, factors, torch.tensor([0, -1, 0]), in_place=True)
    assert whole[:, :3].eq(1).all()
    assert whole[:, 8:].eq(1).all()
    assert whole[:, 3:8].tolist() == [[3.0] * 5, [1.0] * 5, [3.0] * 5]


def test_rows_without_gains_keep_what_arithmetic_would_not() -> None:
    """Infinity times zero is no number, and the torch gather would make it so."""
    values = torch.tensor([[float("inf"), -0.0, 1e-45]] * 3)
    factors = torch.zeros(2, 3)
    active = torch.zeros(2, dtype=torch.int8)
    for in_place in (False, True):
        index = torch.tensor([-1, 0, 1])
        found = apply_gains(values.clone(), factors, None, index, active, in_place=in_place)
        assert torch.equal(found.view(torch.int32), values.view(torch.int32))


def test_the_flags_are_obeyed() -> None:
    """Else the other tests, whose inactive slots hold zeros, would not notice."""
    values, factors = torch.ones(2, 4), torch.ones(3, 4)
    active = torch.tensor([1, 0, 0], dtype=torch.int8)
    found = apply_gains(values, factors, None, torch.tensor([0, 1]), active, in_place=True)
    assert found.tolist() == [[2.0] * 4, [1.0] * 4]


def arguments() -> tuple[Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    tables = table(2, 5, torch.float32, rng), table(2, 5, torch.float32, rng)
    active = torch.tensor([1, 1, 0], dtype=torch.int8)
    return torch.randn(4, 5, generator=rng), *tables, torch.tensor([0, -1, 1, 0]), active


def test_the_operators_are_what_they_declare() -> None:
    """Schema with what is changed, shapes and strides without computing, tracing."""
    for operator in (torch.ops.hive_expert.scale_rows_, torch.ops.hive_expert.scaled_rows):
        torch.library.opcheck(operator.default, arguments())


def test_a_compiled_function_computes_the_same_for_every_number_of_tokens() -> None:
    """As vLLM traces a model: one graph, whose number of tokens is a symbol."""
    _, factors, addends, indices, active = arguments()

    def layer(x: Tensor) -> Tensor:
        index = indices[: x.shape[0]]
        scaled = apply_gains(x, factors, None, index, active, in_place=False)
        y = scaled @ torch.eye(5)
        return apply_gains(y, factors, addends, index, active, in_place=True) + x.sum()

    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=True)
    for tokens in (4, 3, 2):
        x = torch.randn(tokens, 5)
        before = x.clone()
        assert torch.allclose(compiled(x), layer(x))
        assert torch.equal(x, before)
