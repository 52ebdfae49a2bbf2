"""Layers with adapters in slots, and what they must compute: the dense definition in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hive_expert.engine.cpu_kernel import choice
from hive_expert.engine.cpu_kernel.plan import Plan, plan_of
from hive_expert.engine.cpu_lora import runs_of

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Largest error allowed, relative to the largest number in the result."""


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
