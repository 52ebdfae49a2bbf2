"""The laws of the normal form, in float64, against the dense definition of what layers compute."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hive_expert.adapters.normal_form import (
    LayerDelta,
    NormalForm,
    apply,
    compose,
    scaled,
    truncate,
)
from hive_expert.errors import AdapterError

SIZES = {"mlp.down_proj": (3, 5), "self_attn.k_proj": (4, 2)}
INPUT_SCALED = "mlp.down_proj"
"""Where the drawn forms may have a beta; elsewhere they may have a gamma."""

seeds = st.integers(0, 2**32 - 1)
weights = st.floats(-2, 2).map(lambda w: round(w, 3))


def normal(shape: Sequence[int], rng: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


@st.composite
def forms(draw: st.DrawFn) -> NormalForm:
    """Forms of every kind and mix of kinds, of ranks 0 to 3, on some of the layers."""
    rng = torch.Generator().manual_seed(draw(seeds))
    layers = {}
    for module in draw(st.sets(st.sampled_from(sorted(SIZES)))):
        out_size, in_size = SIZES[module]
        rank = draw(st.integers(0, 3))
        scales_input = module == INPUT_SCALED
        layers[module] = LayerDelta(
            a=normal((rank, in_size), rng),
            b=normal((out_size, rank), rng),
            gamma=normal((out_size,), rng) if not scales_input and draw(st.booleans()) else None,
            shift=normal((out_size,), rng) if draw(st.booleans()) else None,
            beta=normal((in_size,), rng) if scales_input and draw(st.booleans()) else None,
        )
    return NormalForm(layers)


def added(form: NormalForm, module: str) -> Tensor:
    """What a form adds to the base's output in one layer, for fixed random weights and inputs."""
    out_size, in_size = SIZES[module]
    rng = torch.Generator().manual_seed(5)
    weight, bias, x = (normal(s, rng) for s in ((out_size, in_size), (out_size,), (7, in_size)))
    base = x @ weight.T + bias
    delta = form.layers.get(module)
    return torch.zeros_like(base) if delta is None else apply(delta, x, weight, bias) - base


def assert_same(left: NormalForm, right: NormalForm) -> None:
    for module in SIZES:
        assert torch.allclose(added(left, module), added(right, module), rtol=1e-9, atol=1e-9)


@given(st.lists(st.tuples(forms(), weights), max_size=4))
def test_composition_adds_the_weighted_sum_of_deltas(parts: list[tuple[NormalForm, float]]) -> None:
    whole = compose([f for f, _ in parts], [w for _, w in parts])
    for module in SIZES:
        expected = sum((w * added(f, module) for f, w in parts), torch.zeros(()))
        assert torch.allclose(added(whole, module), expected.double(), rtol=1e-9, atol=1e-9)


@given(forms(), forms(), weights, weights)
def test_composition_is_commutative(f: NormalForm, g: NormalForm, v: float, w: float) -> None:
    assert_same(compose([f, g], [v, w]), compose([g, f], [w, v]))


@given(forms(), forms(), forms(), weights)
def test_composition_is_associative(f: NormalForm, g: NormalForm, h: NormalForm, w: float) -> None:
    left = compose([compose([f, g], [1, w]), h], [1, 1])
    right = compose([f, compose([g, h], [w, 1])], [1, 1])
    assert_same(left, right)


@given(forms(), forms())
def test_weight_zero_leaves_a_form_out_and_costs_no_rank(f: NormalForm, g: NormalForm) -> None:
    whole = compose([f, g], [1, 0])
    assert_same(whole, f)
    assert whole.rank == f.rank


@given(forms(), weights, weights)
def test_scaling_twice_is_scaling_by_the_product(f: NormalForm, v: float, w: float) -> None:
    assert_same(scaled(scaled(f, v), w), scaled(f, v * w))


@given(forms())
def test_scaling_by_one_is_the_identity(f: NormalForm) -> None:
    assert_same(scaled(f, 1), f)


@given(forms(), st.integers(1, 4))
def test_truncation_loses_what_it_says(f: NormalForm, rank: int) -> None:
    short, error = truncate(f, rank)
    assert short.rank <= rank
    lost = whole = 0.0
    for module, delta in f.layers.items():
        update, kept = delta.b @ delta.a, short.layers[module].b @ short.layers[module].a
        lost += float((update - kept).square().sum())
        whole += float(update.square().sum())
        for part in ("gamma", "shift", "beta"):
            assert getattr(short.layers[module], part) is getattr(delta, part)
    assert error == pytest.approx(math.sqrt(lost / whole) if whole else 0, abs=1e-7)
    if rank >= f.rank:
        assert error < 1e-7


def one_layer(**parts: Tensor) -> NormalForm:
    defaults = {"a": torch.zeros(1, 5), "b": torch.zeros(3, 1)}
    tensors = {name: tensor.double() for name, tensor in (defaults | parts).items()}
    return NormalForm({INPUT_SCALED: LayerDelta(**tensors)})


def test_an_output_gain_and_an_input_gain_do_not_add_up() -> None:
    gamma, beta = one_layer(gamma=torch.full((3,), 2.0)), one_layer(beta=torch.full((5,), 2.0))
    with pytest.raises(AdapterError, match=INPUT_SCALED):
        compose([gamma, beta], [1, 1])


def test_a_form_of_weight_zero_makes_no_cross_term() -> None:
    gamma, beta = one_layer(gamma=torch.full((3,), 2.0)), one_layer(beta=torch.full((5,), 2.0))
    assert_same(compose([gamma, beta], [1, 0]), gamma)


def test_a_layer_cannot_hold_both_gains() -> None:
    with pytest.raises(AssertionError, match="gamma or a beta"):
        one_layer(gamma=torch.ones(3), beta=torch.ones(5))


def test_all_that_does_not_go_together_is_reported_at_once() -> None:
    first = NormalForm({"l": LayerDelta(torch.zeros(1, 2), torch.zeros(3, 1))}, "a" * 64)
    second = NormalForm({"l": LayerDelta(torch.zeros(1, 2), torch.zeros(4, 1))}, "b" * 64)
    with pytest.raises(AdapterError) as caught:
        compose([first, second], [1, math.inf])
    assert {p.where for p in caught.value.problems} == {"base model", "l", "weight 2"}


def test_a_composition_is_bound_to_the_base_of_the_bound_one() -> None:
    free, bound = NormalForm({}), NormalForm({}, "a" * 64)
    assert compose([free, bound], [1, 1]).base_fingerprint == "a" * 64
    assert compose([free, free], [1, 1]).base_fingerprint is None
