"""Compositions on disk: the sum of their members, the same in any order, refused when too large."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.compose import Member, compose_members
from hive_expert.adapters.engine_format import read_form
from hive_expert.adapters.normal_form import compose
from hive_expert.adapters.peft_adapter import read_adapter
from hive_expert.adapters.peft_format import to_normal_form
from hive_expert.adapters.store import AdapterStore, ready_for_engine
from hive_expert.errors import AdapterError
from tests.adapters import tiny


@pytest.fixture
def store(home: Path) -> AdapterStore:
    return AdapterStore.default()


def member(
    name: str, weight: float, trained: Path, base: BaseWeights, store: AdapterStore
) -> Member:
    digest = format(sorted(tiny.CONFIGS).index(name), "064x")
    return Member(
        digest, ready_for_engine(read_adapter(trained / name), digest, base, store), weight
    )


def test_it_is_the_weighted_sum(trained: Path, base: BaseWeights, store: AdapterStore) -> None:
    weights = {"lora": 0.7, "dora": 0.5, "ia3_outputs": 1.0}
    members = [member(n, w, trained, base, store) for n, w in weights.items()]
    found = compose_members(members, base, store, max_rank=16)
    forms = [to_normal_form(read_adapter(trained / n), base) for n in weights]
    expected = compose(forms, list(weights.values()))
    written = read_form(found.directory)
    assert (found.rank, found.relative_error) == (expected.rank, 0)
    for module, delta in expected.layers.items():
        ours = written.layers[module]
        assert torch.allclose(ours.b @ ours.a, delta.b @ delta.a, atol=1e-6)
        for part in ("gamma", "shift", "beta"):
            left, right = getattr(ours, part), getattr(delta, part)
            assert (left is None) == (right is None)
            assert left is None or torch.allclose(left, right, atol=1e-6)


def test_the_order_makes_no_difference(
    trained: Path, base: BaseWeights, store: AdapterStore
) -> None:
    members = [member(n, w, trained, base, store) for n, w in (("lora", 0.5), ("dora", 1.0))]
    first = compose_members(members, base, store, max_rank=16)
    assert compose_members(members[::-1], base, store, max_rank=16) == first


def test_weights_make_a_difference(trained: Path, base: BaseWeights, store: AdapterStore) -> None:
    found = {
        compose_members(
            [member("lora", w, trained, base, store), member("dora", 1.0, trained, base, store)],
            base,
            store,
            max_rank=16,
        ).directory
        for w in (0.5, 0.6)
    }
    assert len(found) == 2


def test_too_large_a_rank_is_refused_with_the_one_it_needs(
    trained: Path, base: BaseWeights, store: AdapterStore
) -> None:
    members = [member(n, 1.0, trained, base, store) for n in ("lora", "dora")]
    with pytest.raises(AdapterError, match="--max-rank 7"):
        compose_members(members, base, store, max_rank=6)
    compose_members(members, base, store, max_rank=7)
    with pytest.raises(AdapterError, match="--max-rank 7"):
        compose_members(members, base, store, max_rank=6)


def test_on_request_the_rank_is_cut_and_the_loss_told(
    trained: Path, base: BaseWeights, store: AdapterStore
) -> None:
    members = [member(n, 1.0, trained, base, store) for n in ("lora", "dora")]
    found = compose_members(members, base, store, max_rank=4, cut=True)
    assert found.rank == 4
    assert 0 < found.relative_error < 1
    assert compose_members(members, base, store, max_rank=4, cut=True) == found


def test_gains_on_both_sides_of_a_layer_are_refused(
    trained: Path, base: BaseWeights, store: AdapterStore
) -> None:
    members = [member(n, 1.0, trained, base, store) for n in ("dora", "ia3")]
    with pytest.raises(AdapterError, match="down_proj"):
        compose_members(members, base, store, max_rank=16)
