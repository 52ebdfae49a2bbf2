"""What `lora_apply.cpp` computes, with torch's own operators.

Each of them costs some ten microseconds per layer, more than their arithmetic in a decode step.
So adapters are batched where there are enough of them, and nothing is kept between steps: a slot's
content may change.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hive_expert.engine.cpu_kernel.plan import Plan

BATCHED_FROM = 3
"""Groups from which two batched products per slice beat two products per group."""

SPARSE = 2
"""Slots in the span of a plan's slots, per used one, above which batching computes too much."""


def apply_groups(
    y: Tensor, x: Tensor, a: Sequence[Tensor], b: Sequence[Tensor], plan: Plan, scale: float
) -> None:
    """y[t, slice] += scale · B[slot] (A[slot] x[t]) for the plan's grouped tokens, in place.

    Args:
        y: (tokens, out of all slices).
        x: (tokens, in).
        a: one (slots, 1, rank, in) for each slice.
        b: one (slots, 1, out, rank) for each slice.
    """
    groups = plan.groups
    if not groups:
        return
    span = groups[-1].slot + 1 - groups[0].slot
    if len(groups) >= BATCHED_FROM and span <= SPARSE * len(groups):
        _batched(y, x, a, b, plan, scale)
    else:
        _group_by_group(y, x, a, b, plan, scale)


def _group_by_group(
    y: Tensor, x: Tensor, a: Sequence[Tensor], b: Sequence[Tensor], plan: Plan, scale: float
) -> None:
    rows = x[plan.tokens]
    offset = 0
    for a_slice, b_slice in zip(a, b, strict=True):
        deltas = [
            (rows[group.start : group.end] @ a_slice[group.slot, 0].t())
            @ b_slice[group.slot, 0].t()
            for group in plan.groups
        ]
        _add(y, offset, plan, torch.cat(deltas), scale)
        offset += b_slice.shape[2]


def _batched(
    y: Tensor, x: Tensor, a: Sequence[Tensor], b: Sequence[Tensor], plan: Plan, scale: float
) -> None:
    """All slots from the first used to the last, each padded to the largest group with zeros."""
    first, last = plan.groups[0].slot, plan.groups[-1].slot
    slots = slice(first, last + 1)
    largest = max(group.end - group.start for group in plan.groups)
    places = torch.cat(
        [
            torch.arange(group.end - group.start) + (group.slot - first) * largest
            for group in plan.groups
        ]
    )
    padded = x.new_zeros((last + 1 - first) * largest, x.shape[1])
    padded.index_copy_(0, places, x[plan.tokens])
    padded = padded.view(-1, largest, x.shape[1])
    offset = 0
    for a_slice, b_slice in zip(a, b, strict=True):
        hidden = torch.bmm(padded, a_slice[slots, 0].transpose(1, 2))
        deltas = torch.bmm(hidden, b_slice[slots, 0].transpose(1, 2)).flatten(0, 1)
        _add(y, offset, plan, deltas[places], scale)
        offset += b_slice.shape[2]


def _add(y: Tensor, offset: int, plan: Plan, deltas: Tensor, scale: float) -> None:
    y[:, offset : offset + deltas.shape[1]].index_add_(0, plan.tokens, deltas, alpha=scale)
