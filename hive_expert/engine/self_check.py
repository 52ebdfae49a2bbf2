"""Does this worker compute adapters as the normal form says? Asked once, before it serves.

Known random adapters are put into a slot of the first layer of each kind, and what the layer makes
of a few tokens, some of them without adapter, is compared with the definition in float64. And a
soft prompt's rows must be what the embedding gives for its positions, and for no others. That the
plugin is installed says little: an operator compiled for another machine, or a path of vLLM that
passes our hooks by, would show here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from vllm.lora.layers import LoRAMapping

from hive_expert.engine.gains import GainSlots, LayerGains
from hive_expert.engine.soft_prompt import SoftPromptEmbedding

TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest error allowed, relative to the largest number of an output."""

_TOKENS = (1, 0, 1, 2)
"""Adapter ids of the probe's tokens; 0 is none."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How far one layer is from the definition."""

    layer: str
    error: float
    allowed: float

    @property
    def ok(self) -> bool:
        # NaN is not below anything.
        return self.error <= self.allowed


@torch.inference_mode()
def check(manager: Any) -> tuple[Finding, ...]:
    """Probe a worker's model manager; its slots and mapping are as before when it returns.

    Fully sharded adapters are left out: their layers compute together with other workers.
    """
    if manager.lora_config.fully_sharded_loras:
        return ()
    probed: dict[str, tuple[str, GainSlots]] = {}
    for name, layer in manager.modules.items():
        if isinstance(layer, GainSlots):
            probed.setdefault(name.rpartition(".")[2], (name, layer))
    findings = [_probe(name, layer, manager) for name, layer in probed.values()]
    if manager.embedding is not None:
        findings.append(_probe_soft_prompts(manager.embedding, manager))
    # Or the manager might take the next batch's mapping for one that is in force.
    manager._last_mapping = None
    return tuple(findings)


def _probe(name: str, layer: GainSlots, manager: Any) -> Finding:
    generator = torch.Generator().manual_seed(1)
    slots = min(2, manager.lora_slots)
    tokens = tuple(min(adapter, slots) for adapter in _TOKENS)
    wrapper = layer.punica_wrapper
    dtype = layer.base_layer.params_dtype

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    x = some(len(tokens), layer.input_size).to(dtype).to(layer.device)
    bias = None if layer.base_layer.skip_bias_add else layer.base_layer.bias
    try:
        for slot in range(slots):
            for a, b in zip(layer.lora_a_stacked, layer.lora_b_stacked, strict=True):
                a[slot].copy_(some(*a[slot].shape) / a.shape[-1] ** 0.5)
                b[slot].copy_(some(*b[slot].shape) / b.shape[-1] ** 0.5)
            layer.multiply_in(slot)
            layer.set_gains(slot, _gains(layer, some))
        _map(wrapper, manager, tokens, list(range(1, slots + 1)))
        found = layer.apply(x, bias).double()
        expected = torch.stack(
            [
                _defined(layer, row, bias, adapter - 1)
                for row, adapter in zip(x, tokens, strict=True)
            ]
        )
    finally:
        for slot in range(slots):
            layer.reset_lora(slot)
        _map(wrapper, manager, (0,) * len(tokens), [])
    error = float((found - expected).abs().max() / expected.abs().max())
    return Finding(name, error, TOLERANCE[dtype])


def _probe_soft_prompts(embedding: SoftPromptEmbedding, manager: Any) -> Finding:
    """The first two tokens of slot 0 are its rows; one without adapter, and one beyond, are not."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn((2, embedding.rows.shape[2]), generator=generator).to(embedding.rows)
    slots = min(2, manager.lora_slots)
    tokens = tuple(min(adapter, slots) for adapter in _TOKENS)
    ids = torch.arange(len(tokens), device=rows.device)
    positions = torch.tensor([0, 0, 1, len(rows)], device=rows.device)
    before = embedding.positions[: len(tokens)].clone()
    try:
        embedding.fill(0, rows)
        embedding.positions[: len(tokens)] = positions
        _map(embedding.punica_wrapper, manager, tokens, list(range(1, slots + 1)))
        found = embedding(ids).double()
        expected = embedding.inner(ids).double()
        expected[0], expected[2] = rows[0].double(), rows[1].double()
    finally:
        embedding.fill(0, None)
        embedding.positions[: len(tokens)] = before
        _map(embedding.punica_wrapper, manager, (0,) * len(tokens), [])
    return Finding("soft prompts", float((found - expected).abs().max()), 0.0)


def _gains(layer: GainSlots, some: Any) -> LayerGains:
    return LayerGains(
        gamma=0.5 * some(layer.output_size),
        shift=None if layer.shift_table is None else some(layer.output_size),
        beta=None if layer.beta_table is None else 0.5 * some(layer.input_size),
    )


def _defined(layer: GainSlots, x: Tensor, bias: Tensor | None, slot: int) -> Tensor:
    """The normal form of one token (in), with the numbers that stand in the tables."""
    method, base = layer.base_layer.quant_method, layer.base_layer
    if slot < 0:
        return method.apply(base, x[None], bias)[0].double()
    scaled = x if layer.beta_table is None else (x.double() * (1 + layer.beta_table[slot].double()))
    y = method.apply(base, scaled.to(x.dtype)[None], bias)[0].double()
    y = y * (1 + layer.gamma_table[slot].double())
    if layer.shift_table is not None:
        y = y + layer.shift_table[slot].double()
    deltas = [
        b[slot, 0].double() @ (a[slot, 0].double() @ x.double())
        for a, b in zip(layer.lora_a_stacked, layer.lora_b_stacked, strict=True)
    ]
    return y + torch.cat(deltas)


def _map(wrapper: Any, manager: Any, tokens: tuple[int, ...], ids: list[int]) -> None:
    """Tell the punica wrapper which adapter each token has; `ids` are those in the first slots.

    As a decode step of no more than `max_num_seqs` requests, since vLLM has room for so many; our
    operators go by the tokens alone.
    """
    slots: list[int | None] = [*ids, *[None] * (manager.lora_slots - len(ids))]
    wrapper.update_metadata(
        LoRAMapping(tokens, tokens[: manager.max_num_seqs], is_prefill=False),
        slots,
        manager.lora_slots + 1,
        manager.vocab_size,
    )
