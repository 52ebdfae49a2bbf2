"""Gains on a GPU: every token's row times its slot's factors, plus its slot's addends, in one pass.

Imported only where there is a GPU, since it needs Triton. The grid follows from the shape alone,
and no value is read on the host, so a captured CUDA graph that is replayed with other slots in
`index` does what a fresh launch would. To torch.compile it is two opaque operators, as vLLM's own
LoRA kernels are: one changes its first argument, the other has a result of its own.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_BLOCK = 2048
"""Columns of one program at most: 8 per thread of 8 warps."""


def apply_gains(
    values: Tensor,
    factors: Tensor,
    addends: Tensor | None,
    index: Tensor,
    active: Tensor | None = None,
    *,
    in_place: bool,
) -> Tensor:
    """values * (1 + factors[slot]) + addends[slot], by row; computed in float32, rounded once.

    Law: a row without slot, or with one that is not active, keeps its bits.

    Args:
        values: (tokens, width), of any strides.
        factors: (slots, width), gamma - 1 or beta - 1.
        addends: (slots, width) or None.
        index: (tokens,), each token's slot, -1 where it has none. int32 or int64, contiguous.
        active: (slots,), int8, contiguous: zero for slots whose factors and addends are all zero.
            Without it they are read to find out.
        in_place: whether the result is `values` itself.
    """
    if in_place:
        torch.ops.hive_expert.scale_rows_(values, factors, addends, index, active)
        return values
    scaled: Tensor = torch.ops.hive_expert.scaled_rows(values, factors, addends, index, active)
    return scaled


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    out,
    values,
    factors,
    addends,
    index,
    active,
    width,
    out_row,
    out_column,
    value_row,
    value_column,
    factor_row,
    addend_row,
    IN_PLACE: tl.constexpr,  # noqa: N803 - Triton's custom for what is fixed when compiling
    BLOCK: tl.constexpr,  # noqa: N803
):
    row = tl.program_id(0).to(tl.int64)  # rows times width may exceed 32 bits
    slot = tl.load(index + row).to(tl.int64)
    gained = slot >= 0
    if active is not None:
        gained = gained & (tl.load(active + slot, mask=gained, other=0) != 0)
    if IN_PLACE:  # noqa: SIM102 - decided when compiling, the other condition on the GPU
        if not gained:
            return
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    value = tl.load(values + row * value_row + columns * value_column, mask=inside)
    if gained:
        factor = tl.load(factors + slot * factor_row + columns, mask=inside).to(tl.float32)
        wide = value.to(tl.float32)
        wide += wide * factor
        if addends is not None:
            wide += tl.load(addends + slot * addend_row + columns, mask=inside).to(tl.float32)
        value = wide.to(value.dtype)
    tl.store(out + row * out_row + columns * out_column, value, mask=inside)


def _launch(
    out: Tensor,
    values: Tensor,
    factors: Tensor,
    addends: Tensor | None,
    index: Tensor,
    active: Tensor | None,
) -> None:
    rows, width = values.shape
    if not values.numel():
        return  # CUDA has no empty grid
    block = min(triton.next_power_of_2(width), MAX_BLOCK)
    _kernel[(rows, triton.cdiv(width, block))](
        out,
        values,
        factors,
        addends,
        index,
        active,
        width,
        out.stride(0),
        out.stride(1),
        values.stride(0),
        values.stride(1),
        factors.stride(0),
        0 if addends is None else addends.stride(0),
        IN_PLACE=out is values,
        BLOCK=block,
        num_warps=8 if block == MAX_BLOCK else 4,
    )


def _scale_rows_(
    values: Tensor, factors: Tensor, addends: Tensor | None, index: Tensor, active: Tensor | None
) -> None:
    _launch(values, values, factors, addends, index, active)


def _scaled_rows(
    values: Tensor, factors: Tensor, addends: Tensor | None, index: Tensor, active: Tensor | None
) -> Tensor:
    out = torch.empty(values.shape, dtype=values.dtype, device=values.device)
    _launch(out, values, factors, addends, index, active)
    return out


def _scale_rows_fake(
    values: Tensor, factors: Tensor, addends: Tensor | None, index: Tensor, active: Tensor | None
) -> None:
    return None


def _scaled_rows_fake(
    values: Tensor, factors: Tensor, addends: Tensor | None, index: Tensor, active: Tensor | None
) -> Tensor:
    return torch.empty(values.shape, dtype=values.dtype, device=values.device)


_ARGUMENTS = "Tensor factors, Tensor? addends, Tensor index, Tensor? active"
# The CPU's are for Triton's interpreter. torch.library.custom_op would cost more at every call.
for _name, _schema, _real, _fake in (
    ("scale_rows_", f"(Tensor(a!) values, {_ARGUMENTS}) -> ()", _scale_rows_, _scale_rows_fake),
    ("scaled_rows", f"(Tensor values, {_ARGUMENTS}) -> Tensor", _scaled_rows, _scaled_rows_fake),
):
    torch.library.define(f"hive_expert::{_name}", _schema)
    torch.library.impl(f"hive_expert::{_name}", ("cuda", "cpu"), _real)
    torch.library.register_fake(f"hive_expert::{_name}", _fake)
