"""Which implementation a process uses: the compiled operators, or torch's own.

`HIVE_CPU_KERNEL` in the environment: `auto` (the default) takes the compiled one where it can be
had, `native` refuses to go on without it, `torch` leaves it out.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from hive_expert.engine.cpu_kernel import build, torch_path
from hive_expert.engine.cpu_kernel.plan import LONG, Plan, Run, plan_of
from hive_expert.errors import EngineError, Problem

VARIABLE = "HIVE_CPU_KERNEL"
WISHES = ("auto", "native", "torch")

ApplyGroups = Callable[[Tensor, Tensor, Sequence[Tensor], Sequence[Tensor], Plan, float], None]
"""See `torch_path.apply_groups`."""

ApplyGains = Callable[..., Tensor]
"""See `apply_gains_natively`."""

log = logging.getLogger("hive_expert.engine")


@dataclass(frozen=True, slots=True)
class Choice:
    """What computes a plan's groups, and why it was chosen."""

    name: Literal["native", "torch"]
    reason: str
    apply_groups: ApplyGroups
    apply_gains: ApplyGains | None = None
    """None: by torch's own operators."""
    bf16_dots: bool = False
    """Whether it multiplies pairs of bfloat16 by one instruction."""

    def long_from(self, dtype: torch.dtype) -> int:
        """Tokens from which a run is left to GEMMs; see `plan_of`."""
        return sys.maxsize if self.bf16_dots and dtype is torch.bfloat16 else LONG

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def choose() -> Choice:
    """What this process is to use; compiles the operator if need be.

    Raises:
        EngineError: `native` was asked for and cannot be had, or the variable has another value.
    """
    wish = _wish()
    if wish == "torch":
        return Choice("torch", f"{VARIABLE}=torch", torch_path.apply_groups)
    try:
        file = build.library()
        load(file)
    except EngineError as error:
        if wish == "native":
            raise
        log.warning("decoding with adapters is slower than it could be: %s", error)
        return Choice("torch", str(error), torch_path.apply_groups)
    return Choice(
        name="native",
        reason=str(file),
        apply_groups=apply_groups_natively,
        apply_gains=apply_gains_natively,
        bf16_dots=torch.ops.hive.has_bf16_dots(),
    )


def prepare() -> None:
    """Compile the operator now, so that the engine's processes find it.

    Whether it can be used is decided in the worker; a failure is told there.
    """
    from vllm.platforms import current_platform

    if _wish() == "torch" or not current_platform.is_cpu():
        return
    try:
        build.library()
    except EngineError as error:
        log.debug("%s", error)


def apply_groups_natively(
    y: Tensor, x: Tensor, a: Sequence[Tensor], b: Sequence[Tensor], plan: Plan, scale: float
) -> None:
    """`torch_path.apply_groups` by the compiled operator, which must be loaded."""
    if plan.groups:
        torch.ops.hive.lora_apply(y, x, a, b, plan.tokens, plan.group_table, scale)


def apply_gains_natively(
    values: Tensor,
    factors: Tensor,
    addends: Tensor | None,
    index: Tensor,
    active: Tensor,
    *,
    in_place: bool,
) -> Tensor:
    """values * (1 + factors[index]) + addends[index] by row, by the compiled operator.

    Args:
        values: (tokens, width).
        factors, addends: (slots + 1, width).
        index: (tokens), the slot of each, -1 for none.
        active: (slots + 1), 0 for a slot whose rows need not be looked at.
        in_place: write into `values`.
    """
    out = values if in_place else torch.empty_like(values)
    torch.ops.hive.apply_gains(out, values, factors, addends, index, active)
    return out


def load(file: Path) -> None:
    """Register the operators with torch and hold them against the torch path. Idempotent.

    Raises:
        EngineError: it does not load, or computes something else.
    """
    try:
        if not hasattr(torch.ops.hive, "lora_apply"):
            torch.ops.load_library(str(file))  # type: ignore[no-untyped-call]  # untyped in torch
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
            _check_groups(dtype, tolerance)
            _check_gains(dtype, tolerance)
    except (OSError, RuntimeError) as error:
        raise EngineError(
            Problem(str(file), f"does not load ({error})", "delete it; it is compiled anew")
        ) from error


def _check_groups(dtype: torch.dtype, tolerance: float) -> None:
    """One small layer with two slices; widths that no vector divides."""
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    plan = plan_of([Run(2, 0, 1), Run(0, 1, 4), Run(2, 5, 6)])
    x = some(6, 37)
    a, b = (some(3, 1, 9, 37), some(3, 1, 9, 37)), (some(3, 1, 21, 9), some(3, 1, 5, 9))
    expected = some(6, 26)
    found = expected.clone()
    torch_path.apply_groups(expected, x, a, b, plan, 0.5)
    apply_groups_natively(found, x, a, b, plan, 0.5)
    if not torch.allclose(found, expected, rtol=tolerance, atol=tolerance * 20):
        raise RuntimeError("its results differ from those of torch")


def _check_gains(dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    values, factors, addends = (
        torch.randn(rows, 37, generator=generator).to(dtype) for rows in (3, 2, 2)
    )
    index, active = torch.tensor([0, -1, 1]), torch.tensor([1, 0], dtype=torch.int8)
    found = apply_gains_natively(values, factors, addends, index, active, in_place=False)
    expected = values.clone()
    expected[0] = values[0] * (1 + factors[0]) + addends[0]
    if not torch.allclose(found, expected, rtol=tolerance, atol=tolerance * 5):
        raise RuntimeError("its gains differ from those of torch")


def _wish() -> str:
    wish = os.environ.get(VARIABLE, "auto")
    if wish not in WISHES:
        raise EngineError(Problem(VARIABLE, f"is {wish!r}", f"one of {', '.join(WISHES)}"))
    return wish
