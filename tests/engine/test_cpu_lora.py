"""The CPU LoRA operators against a dense per-token reference."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from vllm.lora.layers import LoRAMapping

from hive_expert.engine.cpu_lora import Run, RunPunicaWrapper, runs_of

SLOTS, RANK, WIDTH_IN = 3, 4, 16
SLICES = (8, 4, 4)
"""Widths of q, k and v in a packed layer."""


@given(st.lists(st.integers(-1, 3), max_size=40))
def test_runs_are_disjoint_ordered_and_cover_exactly_the_adapted_tokens(slots: list[int]) -> None:
    runs = runs_of(torch.tensor(slots, dtype=torch.long))
    covered = [-1] * len(slots)
    end = 0
    for run in runs:
        assert end <= run.start < run.end
        end = run.end
        covered[run.start : run.end] = [run.slot] * (run.end - run.start)
    assert covered == slots
    assert all(a.end < b.start or a.slot != b.slot for a, b in itertools.pairwise(runs))


def wrapper_for(token_ids: list[int]) -> RunPunicaWrapper:
    """A wrapper after one step's update; adapter id n lives in slot n - 1."""
    wrapper = RunPunicaWrapper(64, 16, "cpu")
    mapping = LoRAMapping(tuple(token_ids), (0,), is_prefill=True)
    wrapper.update_metadata(mapping, [1, 2, 3], SLOTS, 100)
    return wrapper


def stacked(seed: int) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    rng = torch.Generator().manual_seed(seed)
    a = tuple(torch.randn(SLOTS, 1, RANK, WIDTH_IN, generator=rng) for _ in SLICES)
    b = tuple(torch.randn(SLOTS, 1, out, RANK, generator=rng) for out in SLICES)
    return a, b


def dense(x: torch.Tensor, token_ids: list[int], a, b, scale: float) -> torch.Tensor:
    """One token at a time, in float64, straight from the definition."""
    y = torch.zeros(x.shape[0], sum(SLICES), dtype=torch.float64)
    for row, adapter in enumerate(token_ids):
        if adapter > 0:
            parts = [
                bs[adapter - 1, 0].double() @ (as_[adapter - 1, 0].double() @ x[row].double())
                for as_, bs in zip(a, b, strict=True)
            ]
            y[row] = scale * torch.cat(parts)
    return y


@pytest.mark.parametrize(
    "token_ids",
    [
        [0],
        [3],
        [1, 1, 1, 1],
        [0, 1, 0, 2, 0, 3, 0],
        [3, 3, 0, 0, 3, 1, 2, 2],
        [0, 0, 0],
    ],
)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_add_lora_linear_equals_the_dense_definition(token_ids: list[int], scale: float) -> None:
    a, b = stacked(7)
    x = torch.randn(len(token_ids), WIDTH_IN)
    y = torch.randn(len(token_ids), sum(SLICES))
    expected = y.double() + dense(x, token_ids, a, b, scale)
    wrapper_for(token_ids).add_lora_linear(y, x, a, b, scale, SLICES)
    assert torch.allclose(y.double(), expected, atol=1e-5)


def test_tokens_without_adapter_are_untouched_even_when_every_slot_is_full() -> None:
    # Upstream reads weights[-1], the last slot, for these tokens (vLLM #48421).
    a, b = stacked(1)
    y = torch.randn(3, sum(SLICES))
    before = y.clone()
    wrapper_for([0, 3, 0]).add_lora_linear(y, torch.randn(3, WIDTH_IN), a, b, 1.0, SLICES)
    assert torch.equal(y[[0, 2]], before[[0, 2]])
    assert not torch.equal(y[1], before[1])


def test_a_fresh_wrapper_adapts_nothing() -> None:
    # The engine's profiling run comes before any mapping was set.
    a, b = stacked(1)
    y = torch.randn(3, sum(SLICES))
    before = y.clone()
    RunPunicaWrapper(64, 16, "cpu").add_lora_linear(y, torch.randn(3, WIDTH_IN), a, b, 1.0, SLICES)
    assert torch.equal(y, before)


def test_shrink_and_expand_compose_to_the_same_delta() -> None:
    # The fully sharded path of vLLM calls the two halves itself.
    token_ids = [0, 2, 2, 1]
    a, b = stacked(3)
    wrapper = wrapper_for(token_ids)
    x = torch.randn(4, WIDTH_IN)
    hidden = torch.zeros(len(SLICES), 4, RANK)
    wrapper.add_shrink(hidden, x, a, 1.0)
    y = torch.zeros(4, sum(SLICES))
    wrapper.add_expand(y, hidden, b, SLICES)
    assert torch.allclose(y.double(), dense(x, token_ids, a, b, 1.0), atol=1e-5)


def test_bf16_stays_near_the_float64_definition() -> None:
    token_ids = [1, 0, 2, 2, 3]
    a, b = stacked(5)
    half = tuple(t.bfloat16() for t in a), tuple(t.bfloat16() for t in b)
    x = torch.randn(5, WIDTH_IN).bfloat16()
    y = torch.zeros(5, sum(SLICES), dtype=torch.bfloat16)
    wrapper_for(token_ids).add_lora_linear(y, x, *half, 1.0, SLICES)
    expected = dense(x, token_ids, *half, 1.0)
    assert torch.allclose(y.double(), expected, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("name", ["add_lora_embedding", "add_lora_logits"])
def test_embedding_and_lm_head_are_refused(name: str) -> None:
    with pytest.raises(NotImplementedError, match="never adapted"):
        getattr(wrapper_for([1]), name)()


def test_run_is_a_plain_triple() -> None:
    assert runs_of(torch.tensor([2, 2, -1, 0])) == (Run(2, 0, 2), Run(0, 3, 4))
