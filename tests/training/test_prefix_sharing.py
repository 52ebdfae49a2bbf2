from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hive_expert.training.datasets import TokenRow
from hive_expert.training.prefix_sharing import (
    IGNORED,
    GroupedSampler,
    PrefixSharingCollator,
    balance,
    row_from_features,
    row_to_features,
    share_prefixes,
)


def make_rows(seed: int = 0) -> list[TokenRow]:
    """Twelve rows in three groups: shared beginnings of 20, 1 and 0 tokens."""
    rng = random.Random(seed)
    beginnings = [[rng.randrange(3, 250) for _ in range(size)] for size in (20, 1, 0)]
    rows = []
    for number in range(12):
        group = number % 3
        own = [rng.randrange(3, 250) for _ in range(rng.randrange(2, 9))]
        answer = [rng.randrange(3, 250) for _ in range(rng.randrange(1, 6))] + [2]
        rows.append(TokenRow((*beginnings[group], *own), tuple(answer), group))
    return rows


def collate(rows: list[TokenRow], **options: Any) -> dict[str, torch.Tensor]:
    return PrefixSharingCollator(2, **options)([row_to_features(row) for row in rows])


def answer_losses(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Loss of each labelled position of a batch, sorted."""
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        position_ids=batch["position_ids"],
    ).logits[:, :-1]
    targets = batch["labels"][:, 1:]
    wanted = targets != IGNORED
    losses = torch.nn.functional.cross_entropy(logits[wanted], targets[wanted], reduction="none")
    return losses.sort().values


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("capacity", [40, 64, 1000])
def test_shared_rows_have_the_losses_of_separate_rows(
    tiny_llama: Callable[[], Any], attention: str, capacity: int
) -> None:
    model = tiny_llama()
    model.set_attn_implementation(attention)
    rows = make_rows()
    batch = collate(rows, capacity=capacity, additive=attention == "eager")
    shared = answer_losses(model, batch)
    alone = []
    for row in rows:
        ids = torch.tensor([[*row.prompt, *row.answer]])
        logits = model(input_ids=ids).logits[0, len(row.prompt) - 1 : -1]
        alone.append(
            torch.nn.functional.cross_entropy(logits, torch.tensor(row.answer), reduction="none")
        )
    assert torch.allclose(shared, torch.cat(alone).sort().values, atol=1e-5)


def test_gradients_are_those_of_separate_rows(tiny_llama: Callable[[], Any]) -> None:
    rows = make_rows()
    gradients = []
    for share in (True, False):
        model = tiny_llama()
        answer_losses(model, collate(rows, share=share)).mean().backward()
        gradients.append(model.model.layers[0].self_attn.k_proj.weight.grad)
    assert torch.allclose(*gradients, atol=1e-6)


def test_sharing_saves_tokens() -> None:
    rows = [TokenRow((*range(3, 63), n), (n, 2), 0) for n in range(70, 78)]
    assert collate(rows)["input_ids"].shape == (1, 60 + 8 * 3)
    assert collate(rows, share=False)["input_ids"].shape == (8, 63)


def test_row_tokens_counts_rows_as_they_came() -> None:
    rows = make_rows()
    assert collate(rows)["row_tokens"] == sum(len(row) for row in rows)


def test_a_row_longer_than_the_capacity_stays_whole() -> None:
    row = TokenRow(tuple(range(3, 103)), (5, 2), 0)
    assert collate([row], capacity=16)["input_ids"].shape == (1, 102)


def test_equal_prompts_keep_a_token_of_their_own() -> None:
    rows = [TokenRow((5, 6, 7), (8, 2), 0), TokenRow((5, 6, 7), (9, 2), 0)]
    (block,) = share_prefixes(rows, 100)
    assert block.prefix == (5, 6)
    assert block.segments == (((7,), (8, 2)), ((7,), (9, 2)))


def test_no_position_attends_to_nothing() -> None:
    mask = collate(make_rows(), capacity=40)["attention_mask"]
    assert mask.any(-1).all()


row_strategy = st.builds(
    TokenRow,
    st.lists(st.integers(3, 6), min_size=1, max_size=12).map(tuple),
    st.lists(st.integers(3, 250), min_size=1, max_size=6).map(tuple),
    st.integers(0, 2),
)


@given(st.lists(row_strategy, min_size=1, max_size=12), st.integers(8, 64))
def test_every_row_is_in_exactly_one_segment(rows: list[TokenRow], capacity: int) -> None:
    blocks = share_prefixes(rows, capacity)
    rebuilt = [
        ((*block.prefix, *rest), answer) for block in blocks for rest, answer in block.segments
    ]
    assert sorted(rebuilt) == sorted((row.prompt, row.answer) for row in rows)
    assert all(len(block) <= capacity or len(block.segments) == 1 for block in blocks)
    placed = [block for sequence in balance(blocks, capacity) for block in sequence]
    assert sorted(map(repr, placed)) == sorted(map(repr, blocks))


@given(row_strategy)
def test_features_round_trip(row: TokenRow) -> None:
    assert row_from_features(row_to_features(row)) == row


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(0, 9), st.integers(0, 3))
def test_sampler_yields_every_row_once(groups: list[int], seed: int, epoch: int) -> None:
    sampler = GroupedSampler(groups, seed=seed)
    sampler.set_epoch(epoch)
    assert sorted(sampler) == list(range(len(groups)))


def test_sampler_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = GroupedSampler([n // 10 for n in range(100)], seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2)
    assert order(1, 1) != order(2, 1)


def test_sampler_keeps_rows_of_a_group_together() -> None:
    groups = [n % 5 for n in range(80)]
    order = list(GroupedSampler(groups, seed=0, together=4))
    for start in range(0, 80, 4):
        assert len({groups[index] for index in order[start : start + 4]}) == 1
