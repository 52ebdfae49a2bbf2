"""What is no number leaves the cache with the step that made it, and nothing else is touched."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hive_expert.engine import finite_cache
from hive_expert.engine.finite_cache import FiniteCache

BLOCKS, BLOCK, HIDDEN = 4, 8, 6
LAYER = "model.layers.0.self_attn.attn"


class Step:
    """One step of a model with one attention layer, whose tokens stand where a step put them."""

    def __init__(self, slots: list[int]) -> None:
        self.cache = torch.arange(BLOCKS * 2 * BLOCK * 3.0).view(BLOCKS, 2, BLOCK, 3)
        self.context = SimpleNamespace(
            attn_metadata={LAYER: SimpleNamespace(slot_mapping=torch.tensor(slots))},
            no_compile_layers={LAYER: SimpleNamespace(kv_cache=self.cache)},
        )
        self.hidden = torch.randn(len(slots), HIDDEN)

    def end(self, hook: FiniteCache) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(finite_cache, "get_forward_context", lambda: self.context)
            hook(nn.Identity(), (), {}, self.hidden)


def nobody(_: Tensor) -> list[str]:
    return []


@settings(deadline=None)
@given(
    bad=st.sets(st.integers(0, BLOCKS * BLOCK - 1)),
    value=st.sampled_from([float("nan"), float("inf"), float("-inf")]),
)
def test_after_a_step_all_of_the_cache_is_finite_and_the_rest_is_as_it_was(
    bad: set[int], value: float
) -> None:
    step = Step(list(range(BLOCKS * BLOCK)))
    for token in bad:
        step.hidden[token, token % HIDDEN] = value
        step.cache[token // BLOCK, 1, token % BLOCK] = value
    cache, hidden = step.cache.clone(), step.hidden.clone()
    hook = FiniteCache(nobody)
    step.end(hook)
    assert torch.equal(step.cache, cache.nan_to_num(0, 0, 0))
    hidden[sorted(bad)] = 0
    assert torch.equal(step.hidden, hidden)
    assert hook.overflowed.tolist() == sorted(bad)


def test_what_overflowed_is_told_of_the_last_step_alone() -> None:
    hook, step = FiniteCache(nobody), Step([0, 1])
    step.hidden[1] = float("nan")
    step.end(hook)
    Step([0, 1]).end(hook)
    assert not len(hook.overflowed)


def test_numbers_whose_sum_overflows_are_numbers() -> None:
    step = Step([0, 1])
    step.hidden[:] = 3e38
    before = step.cache.clone()
    step.end(FiniteCache(nobody))
    assert torch.equal(step.hidden, torch.full((2, HIDDEN), 3e38))
    assert torch.equal(step.cache, before)


def test_a_token_that_is_not_in_the_cache_cleans_no_block() -> None:
    step = Step([-1, 9])
    step.hidden[0] = float("nan")
    step.cache[0, 0, 0] = float("nan")  # another's: its own step would have cleaned it
    step.end(FiniteCache(nobody))
    assert step.cache.isnan().any()
    assert not step.hidden[0].any()


def test_without_a_cache_only_the_hidden_states_are_cleaned() -> None:
    step = Step([0])
    step.context.attn_metadata = None
    step.hidden[0] = float("nan")
    step.end(FiniteCache(nobody))
    assert not step.hidden.any()


def test_who_overflows_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    hook = FiniteCache(lambda tokens: ["expert-wild"] if 0 in tokens else ["expert-calm"])
    with caplog.at_level(logging.ERROR, "hive_expert.engine"):
        for _ in range(3):
            step = Step([0, 1])
            step.hidden[0] = float("inf")
            step.end(hook)
    assert [record.getMessage() for record in caplog.records] == [
        "expert-wild: its numbers overflow; requests in which they do are given up"
    ]


def test_models_on_the_cpu_get_it() -> None:
    on_cpu, elsewhere = nn.Linear(2, 2), nn.Linear(2, 2, device="meta")
    hook, nothing = [finite_cache.install(model, nobody) for model in (on_cpu, elsewhere)]
    assert isinstance(hook, FiniteCache)
    assert list(on_cpu._forward_hooks.values()) == [hook]
    assert nothing is None
    assert not elsewhere._forward_hooks
