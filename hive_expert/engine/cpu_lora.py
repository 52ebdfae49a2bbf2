"""LoRA on the CPU by runs of equal slots: what replaces vLLM's per-token gather.

Stock `PunicaWrapperCPU` copies one whole A and one whole B matrix per token
(`weights[indices]`), and a token without an adapter carries index -1, which in torch
reads the *last* slot: base requests that share a batch with experts come out wrong
(vLLM #48421, #49656). Here consecutive tokens of one slot form a run, found once per
step, and tokens without an adapter belong to no run. They go by slot through one operator per layer
(`cpu_kernel`); where it is slower than GEMMs, a long run is one pair of those instead.

Pinned to vLLM 0.32.0, whose punica interface this overrides.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from hive_expert.engine.cpu_kernel.choice import ApplyGains, choose
from hive_expert.engine.cpu_kernel.plan import Plan, Run, plan_of


def runs_of(token_slots: torch.Tensor) -> tuple[Run, ...]:
    """Maximal runs of equal slots; -1 means no adapter and makes no run.

    Law: the runs are disjoint, in order, and cover exactly the tokens whose slot is not -1.
    """
    if token_slots.numel() == 0:
        return ()
    slots, counts = torch.unique_consecutive(token_slots, return_counts=True)
    runs = []
    end = 0
    for slot, count in zip(slots.tolist(), counts.tolist(), strict=True):
        start, end = end, end + count
        if slot >= 0:
            runs.append(Run(slot, start, end))
    return tuple(runs)


class RunPunicaWrapper(PunicaWrapperCPU):
    """vLLM's CPU LoRA operators, by runs and groups of equal slots.

    Shapes: x (tokens, in), y (tokens, out); a stacked A is (slots, 1, rank, in) and a
    stacked B (slots, 1, out, rank), one of each per slice of a packed layer (q, k, v of
    `qkv_proj`; gate and up of `gate_up_proj`).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Upstream leaves this uninitialised, and the profiling run reads it.
        self._token_lora_indices.fill_(-1)
        self._runs: tuple[Run, ...] = ()
        self._plans: dict[tuple[torch.dtype, frozenset[int] | None], Plan] = {}
        self._operator = choose()

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        super().update_metadata(*args, **kwargs)
        self._runs = runs_of(self.token_lora_indices)
        self._plans = {}

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of the current step."""
        return self._runs

    @property
    def apply_gains(self) -> ApplyGains | None:
        """The compiled operator for the gains of a layer, if there is one."""
        return self._operator.apply_gains

    @property
    def kernel(self) -> str:
        """What computes all but long runs, and why."""
        return str(self._operator)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: tuple[torch.Tensor, ...] | None = None,
        slots: frozenset[int] | None = None,
        **kwargs: Any,
    ) -> None:
        """y[tokens] += scale · (x[tokens] Aᵀ) Bᵀ for each slice and slot, in place.

        Args:
            slots: those whose A and B are not zero in this layer; None: any may be.
        """
        y = y.view(-1, y.shape[-1])
        x = x.view(-1, x.shape[-1])
        plan = self._plan(x.dtype, slots)
        self._operator.apply_groups(y, x, lora_a_stacked, lora_b_stacked, plan, scale)
        for slot, start, end in plan.long:
            rows = x[start:end]
            offset = 0
            for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                hidden = rows @ a[slot, 0].t()
                y[start:end, offset : offset + width].addmm_(hidden, b[slot, 0].t(), alpha=scale)
                offset += width

    def _plan(self, dtype: torch.dtype, slots: frozenset[int] | None) -> Plan:
        """The current step's, made at the first layer that asks."""
        plan = self._plans.get((dtype, slots))
        if plan is None:
            runs = [run for run in self._runs if slots is None or run.slot in slots]
            plan = plan_of(runs, long=self._operator.long_from(dtype))
            self._plans[dtype, slots] = plan
        return plan

    def _apply_shrink(
        self, y: torch.Tensor, x: torch.Tensor, w_t_all: torch.Tensor, scale: float
    ) -> None:
        y = y.view(-1, y.shape[-1])
        for slot, start, end in self._runs:
            weight = w_t_all[slot, 0].to(y.dtype)
            y[start:end].addmm_(x[start:end].to(y.dtype), weight.t(), alpha=scale)

    def _apply_expand(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        w_t_all: torch.Tensor,
        y_offset: int,
        y_slice_size: int,
        add_inputs: bool = True,
    ) -> None:
        for slot, start, end in self._runs:
            out = y[start:end, y_offset : y_offset + y_slice_size]
            delta = x[start:end] @ w_t_all[slot, 0].to(x.dtype).t()
            if add_inputs:
                out += delta
            else:
                out.copy_(delta)

    def add_lora_embedding(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("embeddings are never adapted (SPEC §3, target modules)")

    def add_lora_logits(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("lm_head is never adapted (SPEC §3, target modules)")
