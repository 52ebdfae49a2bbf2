"""Positions below a slot's length take the slot's rows, whatever the batch looks like."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

from hive_expert.adapters.soft_prompt import MAX_TOKENS
from hive_expert.engine import soft_prompt
from hive_expert.engine.cpu_lora import runs_of
from hive_expert.engine.soft_prompt import SoftPromptEmbedding
from hive_expert.errors import AdapterError, EngineError

VOCABULARY, HIDDEN, SLOTS, STEP = 11, 4, 3, 64


class Embedding(VocabParallelEmbedding):
    """vLLM's type without its distributed set-up."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.embedding_dim = HIDDEN
        self.weight = nn.Parameter(torch.randn(VOCABULARY, HIDDEN), requires_grad=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.weight[input_ids]


class Model(nn.Module):
    def __init__(self, embeddings: int = 1) -> None:
        super().__init__()
        for number in range(embeddings):
            setattr(self, f"embed_tokens_{number}", Embedding())

    def forward(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        return self.embed_tokens_0(input_ids)


def installed() -> tuple[Model, SoftPromptEmbedding]:
    model = Model()
    punica = SimpleNamespace(_token_lora_indices=torch.full((STEP,), -1), runs=())
    embedding = soft_prompt.install(model, punica, SLOTS, STEP)
    assert embedding is not None
    return model, embedding


def step(
    model: Model, embedding: SoftPromptEmbedding, slots: Tensor, positions: Tensor, ids: Tensor
) -> Tensor:
    embedding.punica_wrapper._token_lora_indices[: len(slots)] = slots
    embedding.punica_wrapper.runs = runs_of(slots)
    return model(input_ids=ids, positions=positions)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_both_ways_are_the_definition(data: Any) -> None:
    model, embedding = installed()
    lengths = [data.draw(st.integers(0, 5)) for _ in range(SLOTS)]
    rows = [torch.randn(length, HIDDEN) for length in lengths]
    for slot, prompt in enumerate(rows):
        embedding.fill(slot, prompt if len(prompt) else None)
    tokens = data.draw(
        st.lists(st.tuples(st.integers(-1, SLOTS - 1), st.integers(0, 8)), max_size=20)
    )
    slots = torch.tensor([slot for slot, _ in tokens], dtype=torch.long)
    positions = torch.tensor([position for _, position in tokens], dtype=torch.long)
    ids = torch.randint(VOCABULARY, (len(tokens),))
    plain = embedding.inner(ids)
    expected = [
        rows[slot][position] if slot >= 0 and position < lengths[slot] else plain[index]
        for index, (slot, position) in enumerate(tokens)
    ]
    for on_cpu in (True, False):
        embedding.on_cpu = on_cpu
        found = step(model, embedding, slots, positions, ids)
        assert torch.equal(found, torch.stack(expected) if expected else plain)


def test_a_slot_that_is_filled_anew_forgets_the_old_rows() -> None:
    model, embedding = installed()
    embedding.fill(1, torch.ones(4, HIDDEN))
    embedding.fill(1, 2 * torch.ones(2, HIDDEN))
    slots, positions = torch.full((4,), 1), torch.arange(4)
    found = step(model, embedding, slots, positions, torch.zeros(4, dtype=torch.long))
    assert torch.equal(found[:2], 2 * torch.ones(2, HIDDEN))
    assert torch.equal(found[2:], embedding.inner.weight[:1].expand(2, -1))


def test_a_slot_whose_next_adapter_has_none_is_empty() -> None:
    _, embedding = installed()
    embedding.fill(1, torch.ones(4, HIDDEN))
    embedding.fill(1, None)
    assert not embedding.rows.any()
    assert not embedding.lengths.any()
    assert embedding.filled == set()


def test_the_embedding_still_looks_like_itself() -> None:
    model, embedding = installed()
    assert model.embed_tokens_0 is embedding
    assert embedding.weight is embedding.inner.weight
    assert embedding.embedding_dim == HIDDEN
    with pytest.raises(AttributeError):
        _ = embedding.nothing_of_the_kind


def test_a_worker_without_input_embedding_takes_none() -> None:
    assert soft_prompt.install(Model(embeddings=0), None, SLOTS, STEP) is None


def test_two_input_embeddings_are_refused() -> None:
    with pytest.raises(EngineError, match="embed_tokens_0, embed_tokens_1"):
        soft_prompt.install(Model(embeddings=2), None, SLOTS, STEP)


@pytest.mark.parametrize("shape", [(2, HIDDEN + 1), (0, HIDDEN), (MAX_TOKENS + 1, HIDDEN)])
def test_what_a_slot_cannot_hold_is_refused(shape: tuple[int, int]) -> None:
    _, embedding = installed()
    with pytest.raises(AdapterError, match="a soft prompt of"):
        embedding.require_fit("tone", torch.ones(shape))
