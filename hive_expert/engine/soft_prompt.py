"""Soft prompts in vLLM's workers: the first positions of a request take rows of its adapter's slot.

The front end puts as many placeholder tokens before a prompt as the soft prompt has rows, so that
positions, prefix caching (vLLM's keys hold the adapter's name), chunked prefill, limits and token
counts are all vLLM's own. Here, between the embedding and the first layer, the embedding of every
token whose position is below that number is replaced. Which tokens the placeholders are makes no
difference to the model.

Where the tokens stand is told by a hook before the whole model's forward, what their slots are by
the punica wrapper, as everywhere. Tables and positions are never replaced and always sliced: a
captured CUDA graph replays them for every batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.layers.vocab_parallel_embedding import (
    ParallelLMHead,
    VocabParallelEmbedding,
)

from hive_expert.adapters.soft_prompt import MAX_TOKENS
from hive_expert.errors import AdapterError, EngineError, Problem


class SoftPromptEmbedding(nn.Module):
    """Stands in the place of a model's input embedding.

    Law: tokens whose slot has no soft prompt, or whose position is beyond it, get bit for bit what
    the embedding gives them.
    """

    def __init__(
        self, inner: VocabParallelEmbedding, punica_wrapper: Any, slots: int, max_tokens: int
    ) -> None:
        """``max_tokens``: those of one step of the engine."""
        super().__init__()
        self.inner = inner
        self.punica_wrapper = punica_wrapper
        weight = inner.weight
        self.on_cpu = weight.device.type == "cpu"
        # The last row is that of tokens without an adapter, whose slot is -1: always empty.
        shape = (slots + 1, MAX_TOKENS, inner.embedding_dim)
        self.rows = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self.lengths = torch.zeros(slots + 1, dtype=torch.long, device=weight.device)
        self.positions = torch.zeros(max_tokens, dtype=torch.long, device=weight.device)
        self.filled: set[int] = set()

    def require_fit(self, name: str, rows: Tensor) -> None:
        """Refuse what a slot cannot hold.

        Raises:
            AdapterError: another width than the embedding's, or too many rows.
        """
        if rows.shape[1] != self.rows.shape[2] or not 1 <= len(rows) <= MAX_TOKENS:
            what = f"a soft prompt of {tuple(rows.shape)} for {tuple(self.rows.shape[1:])}"
            raise AdapterError(Problem(name, what))

    def fill(self, slot: int, rows: Tensor | None) -> None:
        """Give a slot its adapter's soft prompt, or none."""
        self.rows[slot] = 0
        self.lengths[slot] = 0
        self.filled.discard(slot)
        if rows is not None:
            self.rows[slot, : len(rows)].copy_(rows, non_blocking=True)
            self.lengths[slot] = len(rows)
            self.filled.add(slot)

    def keep_positions(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The hook before the whole model: notes where this step's tokens stand."""
        positions = kwargs["positions"] if "positions" in kwargs else args[1]
        self.positions[: len(positions)].copy_(positions)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(tokens) → (tokens, hidden)."""
        embedded = self.inner(input_ids)
        if self.on_cpu:
            return self._by_runs(embedded)
        slots = self.punica_wrapper._token_lora_indices[: len(input_ids)]
        positions = self.positions[: len(input_ids)]
        virtual = (positions < self.lengths[slots]).unsqueeze(-1)
        return torch.where(virtual, self.rows[slots, positions.clamp(max=MAX_TOKENS - 1)], embedded)

    def _by_runs(self, embedded: Tensor) -> Tensor:
        for slot, start, end in self.punica_wrapper.runs:
            if slot not in self.filled:
                continue
            positions = self.positions[start:end]
            (virtual,) = torch.nonzero(positions < self.lengths[slot], as_tuple=True)
            embedded[start + virtual] = self.rows[slot, positions[virtual]]
        return embedded

    def __getattr__(self, name: str) -> Any:
        # What others ask of the embedding (its weight, quantization, sizes) is the inner one's.
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)


def install(
    model: nn.Module, punica_wrapper: Any, slots: int, max_tokens: int
) -> SoftPromptEmbedding | None:
    """Put a `SoftPromptEmbedding` into a model; None where this worker has no input embedding.

    Raises:
        EngineError: the model has several, so that it is unclear which one reads the prompt.
    """
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, VocabParallelEmbedding) and not isinstance(module, ParallelLMHead)
    ]
    if not found:
        return None
    if len(found) > 1:
        names = ", ".join(name for name, _ in found)
        raise EngineError(Problem(type(model).__name__, f"has several input embeddings: {names}"))
    ((name, inner),) = found
    parent, _, last = name.rpartition(".")
    embedding = SoftPromptEmbedding(inner, punica_wrapper, slots, max_tokens)
    setattr(model.get_submodule(parent), last, embedding)
    model.register_forward_pre_hook(embedding.keep_positions, with_kwargs=True)
    return embedding
