"""Gains per adapter slot in vLLM's LoRA layers: what DoRA and IA3 need beyond A and B.

A layer wrapped by vLLM computes ``W x + bias + B A x`` with the A and B of each token's slot. Here
it becomes the normal form ``gamma * (W (beta * x) + bias) + shift + B A x`` with the vectors of the
same slot. The hook is in front of the layer's quantization method, which every path of vLLM calls
(one stream, two streams, fully sharded, any quantization).

Tables hold ``gamma - 1`` and ``beta - 1`` in the layer's own dtype: of numbers near 1, bfloat16
would keep only eight bits. Their last row stays zero: it is that of tokens without adapter, whose
slot is -1.

On the CPU the gains are applied only where a slot of the step has any: by the compiled operator of
`cpu_kernel`, or without a compiler to runs of equal slots. Elsewhere without looking at values,
since a captured CUDA graph replays it for every batch: by the kernel of `gains_triton`, or by a
gather where Triton does not run. The tables are never replaced, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.layers.row_parallel_linear import RowParallelLinearWithLoRA

from hive_expert.errors import AdapterError, Problem

GATHER_BELOW = 4
"""Runs of fewer tokens than this on average are applied by one gather instead."""

Part = Mapping[str, Tensor]
"""The gains of one matrix, full width: `gamma`, `shift`, `beta`; what is missing is neutral."""


@dataclass(frozen=True, slots=True)
class LayerGains:
    """One adapter's gains for one wrapped layer: this worker's shard, ready to be copied."""

    gamma: Tensor | None
    """gamma - 1, (local out)."""
    shift: Tensor | None
    """(local out)."""
    beta: Tensor | None
    """beta - 1, (local in)."""


class GainedSlots:
    """Which slots have gains: known to the host, and on the device for a kernel to read."""

    __slots__ = ("_slots", "flags")

    def __init__(self, max_loras: int, device: torch.device) -> None:
        self._slots: set[int] = set()
        self.flags = torch.zeros(max_loras + 1, dtype=torch.int8, device=device)
        """1 for a slot with gains; like the tables, never replaced and with a neutral last row."""

    def add(self, index: int) -> None:
        self._slots.add(index)
        self.flags[index] = 1

    def discard(self, index: int) -> None:
        if index in self._slots:
            self._slots.remove(index)
            self.flags[index] = 0

    def __contains__(self, index: int) -> bool:
        return index in self._slots

    def __bool__(self) -> bool:
        return bool(self._slots)


class _GainedMethod:
    """Stands before a layer's quantization method."""

    __slots__ = ("inner", "layer")

    def __init__(self, layer: GainSlots, inner: Any) -> None:
        self.layer = layer
        self.inner = inner

    def apply(self, base_layer: Any, x: Tensor, bias: Tensor | None = None) -> Tensor:
        y = self.inner.apply(base_layer, self.layer.scale_input(x), bias)
        return self.layer.scale_output(y)


class GainSlots(BaseLinearLayerWithLoRA):
    """Put before one of vLLM's wrapped linear layers in the order of resolution.

    Law: a slot that holds no gains computes bit for bit what the layer without this class does.
    """

    def create_lora_weights(
        self, max_loras: int, lora_config: Any, model_config: Any = None
    ) -> None:
        super().create_lora_weights(max_loras, lora_config, model_config)
        dtype = self.base_layer.params_dtype

        def table(width: int) -> Tensor:
            return torch.zeros(max_loras + 1, width, dtype=dtype, device=self.device)

        self.gamma_table = table(self.output_size)
        # Of the shards whose outputs are summed, the first adds the bias; so the shift as well.
        adds_shift = self.base_layer.bias is not None and not (self._sums_shards and self.tp_rank)
        self.shift_table = table(self.output_size) if adds_shift else None
        # One x feeds all matrices of a packed layer: it cannot be scaled for one of them.
        self.beta_table = table(self.input_size) if self.n_slices == 1 else None
        # Found at once, rather than by `__getattr__`, which asks for it ten times a call.
        self.__dict__["base_layer"] = self.base_layer
        self.by_runs = self.device.type == "cpu"
        self.fused = _fused_kernel(self.device)
        self.output_slots = GainedSlots(max_loras, self.device)
        self.input_slots = GainedSlots(max_loras, self.device)
        self.low_rank_slots: frozenset[int] = frozenset()
        """Slots with an A and a B that are not zero; known on the CPU only. An IA3 adapter has none
        anywhere, and many a LoRA only in some layers."""

    def set_mapping(self, punica_wrapper: Any) -> None:
        super().set_mapping(punica_wrapper)
        if self.by_runs:
            self.fused = punica_wrapper.apply_gains
        # Upstream leaves this uninitialised, and the profiling run reads it.
        punica_wrapper._token_lora_indices.fill_(-1)

    def reset_lora(self, index: int) -> None:
        super().reset_lora(index)
        # Rows of slots without gains are zero already: there are hundreds of tables.
        if index in self.output_slots:
            self.gamma_table[index] = 0
            if self.shift_table is not None:
                self.shift_table[index] = 0
        if index in self.input_slots and self.beta_table is not None:
            self.beta_table[index] = 0
        self.output_slots.discard(index)
        self.input_slots.discard(index)
        self.low_rank_slots -= {index}

    def multiply_in(self, index: int) -> None:
        """From now on a slot's A and B count; whoever sets them says so, if they are not zero."""
        self.low_rank_slots |= {index}

    def prepare_gains(self, name: str, parts: Sequence[Part | None]) -> LayerGains:
        """This worker's shard of an adapter's gains, checked against the layer.

        Args:
            name: the layer's, for messages.
            parts: one for each matrix of the layer (q, k and v, say), None where it has no gains.

        Raises:
            AdapterError: gains the layer has no place for, or of another width.
        """
        gamma = self._local_output(name, parts, "gamma", neutral=1.0)
        shift = self._local_output(name, parts, "shift", neutral=0.0)
        beta = self._local_input(name, parts)
        bias = self.base_layer.bias
        if shift is not None and bias is None:
            raise AdapterError(Problem(name, "a shift for a layer without bias"))
        if gamma is not None and bias is not None and self.base_layer.skip_bias_add:
            raise AdapterError(Problem(name, "an output gain where the bias is added later"))
        return LayerGains(
            gamma=None if gamma is None else gamma - 1,
            shift=shift,
            beta=None if beta is None else beta - 1,
        )

    def set_gains(self, index: int, gains: LayerGains) -> None:
        """Put an adapter's gains into a slot that was reset."""
        if gains.gamma is not None:
            self.gamma_table[index].copy_(gains.gamma, non_blocking=True)
        if gains.shift is not None and self.shift_table is not None:
            self.shift_table[index].copy_(gains.shift, non_blocking=True)
        if gains.beta is not None and self.beta_table is not None:
            self.beta_table[index].copy_(gains.beta, non_blocking=True)
            self.input_slots.add(index)
        if gains.gamma is not None or gains.shift is not None:
            self.output_slots.add(index)

    def scale_input(self, x: Tensor) -> Tensor:
        """beta * x; x itself is left alone, since A is applied to it later."""
        if self.beta_table is None or (self.by_runs and not self._active(self.input_slots)):
            return x
        return self._apply(x, self.beta_table, None, self.input_slots, in_place=False)

    def scale_output(self, y: Tensor) -> Tensor:
        """gamma * y + shift; y itself may be changed, or not."""
        if self.by_runs and not self._active(self.output_slots):
            return y
        return self._apply(y, self.gamma_table, self.shift_table, self.output_slots, in_place=True)

    def _apply_sync(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        if not self.by_runs or x.ndim != 2:
            return super()._apply_sync(x, bias)
        # The same in fewer calls: in a decode step on the CPU they cost as much as the adapters.
        base = self.base_layer
        y = self.scale_output(base.quant_method.apply(base, self.scale_input(x), bias))
        self.punica_wrapper.add_lora_linear(
            y,
            x,
            self.lora_a_stacked,
            self.lora_b_stacked,
            1.0,
            self.output_slices,
            slots=self.low_rank_slots,
        )
        return y

    def _get_quant_method(self) -> Any:
        return _GainedMethod(self, super()._get_quant_method())

    def _apply_base_forward(self, x: Tensor) -> Tensor:
        # The base layer calls its quantization method itself here; its bias is in its output.
        output = self.base_layer(self.scale_input(x))
        output = output[0] if isinstance(output, tuple) else output
        return self._apply_lora_to_output(x, self.scale_output(output))

    @property
    def _sums_shards(self) -> bool:
        return isinstance(self, RowParallelLinearWithLoRA)

    def _active(self, slots: GainedSlots) -> bool:
        return bool(slots) and any(run.slot in slots for run in self.punica_wrapper.runs)

    def _apply(
        self,
        values: Tensor,
        factors: Tensor,
        addends: Tensor | None,
        slots: GainedSlots,
        *,
        in_place: bool,
    ) -> Tensor:
        """values * (1 + factors[slot]) + addends[slot], by token.

        `in_place` is leave to change `values`, not a promise.
        """
        flat = values.view(-1, values.shape[-1])
        index = self.punica_wrapper._token_lora_indices[: flat.shape[0]]
        if self.fused is not None:
            scaled = self.fused(flat, factors, addends, index, slots.flags, in_place=in_place)
            return scaled.view(values.shape)
        runs = self.punica_wrapper.runs if self.by_runs else ()
        if self.by_runs and len(flat) >= GATHER_BELOW * len(runs):
            flat = flat if in_place else flat.clone()
            for slot, start, end in runs:
                if slot in slots:
                    rows = flat[start:end]
                    rows.addcmul_(rows, factors[slot])
                    if addends is not None:
                        rows.add_(addends[slot])
            return flat.view(values.shape)
        scaled = torch.addcmul(flat, flat, factors[index])
        if addends is not None:
            scaled = scaled + addends[index]
        return scaled.to(values.dtype).view(values.shape)

    def _local_output(
        self, name: str, parts: Sequence[Part | None], key: str, neutral: float
    ) -> Tensor | None:
        """One output-wide vector of all matrices, sliced as vLLM slices the rows of B."""
        vectors = [part.get(key) if part else None for part in parts]
        if all(vector is None for vector in vectors):
            return None
        if self.tp_size > 1 and not self._sums_shards:
            columns = [None if v is None else v[:, None] for v in vectors]
            sliced = self.slice_lora_b(columns if self.n_slices > 1 else columns[0])
            vectors = [
                None if column is None else column[:, 0]
                for column in (sliced if self.n_slices > 1 else [sliced])
            ]
        widths = self.output_slices if self.n_slices > 1 else (self.output_size,)
        if len(widths) != len(vectors):
            raise AdapterError(Problem(name, f"{key} for {len(vectors)} of {len(widths)} parts"))
        whole = torch.full((self.output_size,), neutral)
        for target, vector in zip(torch.split(whole, list(widths)), vectors, strict=True):
            if vector is None:
                continue
            if vector.shape != target.shape:
                raise _misfit(name, key, vector, target)
            target.copy_(vector)
        return whole

    def _local_input(self, name: str, parts: Sequence[Part | None]) -> Tensor | None:
        vectors = [part["beta"] for part in parts if part and "beta" in part]
        if not vectors:
            return None
        if self.beta_table is None:
            raise AdapterError(
                Problem(name, "an input gain on a layer whose matrices share their input")
            )
        beta = vectors[0]
        if self._sums_shards:
            start = self.tp_rank * self.input_size
            if len(beta) != self.input_size * self.tp_size:
                raise AdapterError(Problem(f"{name}.beta", f"has the length {len(beta)}"))
            beta = beta[start : start + self.input_size]
        if beta.shape != (self.input_size,):
            raise AdapterError(Problem(f"{name}.beta", f"has the length {len(beta)}"))
        return beta


def _fused_kernel(device: torch.device) -> Callable[..., Tensor] | None:
    """`gains_triton.apply_gains` on a GPU whose vLLM uses Triton; None elsewhere."""
    if device.type != "cuda":
        return None
    from vllm.triton_utils import HAS_TRITON

    if not HAS_TRITON:
        return None
    from hive_expert.engine.gains_triton import apply_gains

    return apply_gains


def _misfit(name: str, key: str, found: Tensor, expected: Tensor) -> AdapterError:
    return AdapterError(
        Problem(f"{name}.{key}", f"has the length {len(found)}, not {len(expected)}")
    )
