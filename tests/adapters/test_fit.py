"""Adapters that do not fit their base, or do nothing, never reach the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.fit import check_fit
from hive_expert.adapters.peft_adapter import read_adapter
from hive_expert.errors import AdapterError
from tests.adapters import tiny

Copy = Callable[[str], Path]


@pytest.mark.parametrize(
    ("name", "rank"),
    [("lora", 4), ("rslora", 3), ("dora", 3), ("ia3", 0), ("ia3_outputs", 0)],
)
def test_a_fitting_adapter_returns_its_rank(name: str, rank: int, trained: Path) -> None:
    assert check_fit(read_adapter(trained / name), tiny.SIZES, max_rank=8) == rank


def refused(folder: Path, shapes: dict[str, tuple[int, int]], max_rank: int = 8) -> str:
    with pytest.raises(AdapterError) as caught:
        check_fit(read_adapter(folder), shapes, max_rank)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(tiny.CONFIGS))
def test_targets_that_the_base_has_not(name: str, trained: Path) -> None:
    layers = len(read_adapter(trained / name).layers)
    assert refused(trained / name, {}).count("no such layer") == layers


def test_layers_that_the_base_has_quantized(trained: Path) -> None:
    adapter, layer = read_adapter(trained / "lora"), f"{tiny.ATTENTION}.q_proj"
    with pytest.raises(AdapterError) as caught:
        check_fit(adapter, tiny.SIZES, max_rank=8, packed={layer})
    (problem,) = caught.value.problems
    assert (problem.where, "quantized" in problem.what) == (layer, True)
    assert "unquantized" in problem.remedy


@pytest.mark.parametrize(
    ("name", "layer", "size", "says"),
    [
        ("lora", f"{tiny.ATTENTION}.q_proj", (8, 7), "in size 6"),
        ("lora", f"{tiny.ATTENTION}.q_proj", (9, 6), "out size 8"),
        ("dora", f"{tiny.MLP}.down_proj", (6, 11), "in size 10"),
        ("ia3", f"{tiny.ATTENTION}.k_proj", (5, 6), "out size 4"),
        ("ia3", f"{tiny.MLP}.down_proj", (6, 11), "in size 10"),
    ],
)
def test_layers_of_other_sizes(
    name: str, layer: str, size: tuple[int, int], says: str, trained: Path
) -> None:
    assert says in refused(trained / name, tiny.SIZES | {layer: size})


def test_a_rank_above_the_slots(trained: Path) -> None:
    assert "--max-rank 4" in refused(trained / "lora", tiny.SIZES, max_rank=3)


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("side", ["lora_A", "lora_B"])
def test_all_zero_updates_have_no_effect(zero: float, side: str, adapter: Copy) -> None:
    shapes = {"lora_A": ((4, 6), (4, 10)), "lora_B": ((8, 4), (6, 4))}[side]
    folder = tiny.edit_tensors(
        adapter("lora"),
        **{
            f"q_proj.{side}": torch.full(shapes[0], zero),
            f"down_proj.{side}": torch.full(shapes[1], zero),
        },
    )
    assert "no effect" in refused(folder, tiny.SIZES)


def test_one_layer_with_an_effect_is_enough(adapter: Copy) -> None:
    folder = tiny.edit_tensors(adapter("lora"), **{"q_proj.lora_B": torch.zeros(8, 4)})
    assert check_fit(read_adapter(folder), tiny.SIZES, max_rank=8) == 4


def test_an_input_gain_on_a_layer_that_shares_its_input(tmp_path: Path, base: BaseWeights) -> None:
    config = type(tiny.CONFIGS["ia3"])(target_modules=["k_proj"], feedforward_modules=["k_proj"])
    tiny.train(config, tmp_path / "packed")
    text = refused(tmp_path / "packed", tiny.SIZES)
    assert "leave k_proj out of feedforward_modules" in text
