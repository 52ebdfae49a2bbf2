"""Only numbers in the key-value cache: what overflows in one request must not reach another.

An attention kernel multiplies whole blocks of values: those past a request's end, which the block's
last owner left there, by a weight of zero. Zero times NaN is NaN. So an adapter whose finite
weights overflow would spoil the answers of whoever gets its blocks next, and no look into its files
can exclude that. (vLLM's CPU kernel does so, as FlashAttention 3 does, Dao-AILab #2374.)

A value that is no number makes its token's own attention no number, and so that of all layers after
it. Hence the last hidden states tell of every such value in a step, and are all that is looked at.
What becomes of the request itself is told in `overflow`.

On the CPU only. Elsewhere the look would hold up the device in every step; there vLLM's kernels
decide what is read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from vllm.forward_context import get_forward_context

log = logging.getLogger("hive_expert.engine")


class FiniteCache:
    """The hook after the whole model's forward.

    Law: after each step all numbers in the cache are finite, if they were before it; hidden states
    of tokens that are finite, and their keys and values, are left alone.
    """

    def __init__(self, adapter_of: Callable[[Tensor], Iterable[str]]) -> None:
        """``adapter_of`` tells whose tokens (indices of the step's) those are, for the log."""
        self._adapter_of = adapter_of
        self._told: set[str] = set()
        self.overflowed = torch.empty(0, dtype=torch.int64)
        """Tokens of the last step whose hidden states were no numbers, by their places in it."""

    def __call__(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        # One pass over the numbers; only where their sum is none, each is looked at.
        if torch.isfinite(hidden.sum(dtype=torch.float32)):
            self.overflowed = self.overflowed[:0]
            return
        (tokens,) = torch.nonzero(~torch.isfinite(hidden).all(dim=-1), as_tuple=True)
        self.overflowed = tokens
        if not len(tokens):
            return
        # Samplers are not made for it either.
        hidden[tokens] = 0
        for metadata, cache in _layers():
            positions = metadata.slot_mapping[tokens[tokens < len(metadata.slot_mapping)]]
            blocks = (positions[positions >= 0] // cache.shape[2]).unique()
            cache[blocks] = cache[blocks].nan_to_num(nan=0, posinf=0, neginf=0)
        self._tell(tokens)

    def _tell(self, tokens: Tensor) -> None:
        for name in set(self._adapter_of(tokens)) - self._told:
            self._told.add(name)
            log.error("%s: its numbers overflow; requests in which they do are given up", name)


def install(model: nn.Module, adapter_of: Callable[[Tensor], Iterable[str]]) -> FiniteCache | None:
    """Look after each step of a model on the CPU, and return what does."""
    if next(model.parameters()).device.type != "cpu":
        return None
    hook = FiniteCache(adapter_of)
    model.register_forward_hook(hook, with_kwargs=True)
    return hook


def _layers() -> list[tuple[Any, Tensor]]:
    """Metadata and cache, (blocks, heads, tokens of a block, ...), of the step's attention layers;
    none while vLLM only measures memory."""
    context = get_forward_context()
    of_layers = context.attn_metadata
    if not isinstance(of_layers, dict):
        return []
    return [(of_layers[name], context.no_compile_layers[name].kv_cache) for name in of_layers]
