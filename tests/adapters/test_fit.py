"""Adapters that do not fit their base, or do nothing, never reach the engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hive_expert.adapters.fit import check_fit
from hive_expert.errors import AdapterError

LAYER = "model.layers.0.self_attn.q_proj"
SHAPES = {LAYER: (6, 5)}


def adapter(folder: Path, **changes: torch.Tensor | None) -> Path:
    """A rank-2 adapter of one layer, in bf16, with tensors replaced or left out."""
    tensors = {
        f"base_model.model.{LAYER}.lora_A.weight": torch.ones(2, 5),
        f"base_model.model.{LAYER}.lora_B.weight": torch.ones(6, 2),
    }
    for name, tensor in changes.items():
        key = f"base_model.model.{LAYER}.{name}.weight"
        if tensor is None:
            del tensors[key]
        else:
            tensors[key] = tensor
    half = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    save_file(half, folder / "adapter_model.safetensors")
    return folder


def test_a_fitting_adapter_returns_its_rank(tmp_path: Path) -> None:
    assert check_fit(adapter(tmp_path), SHAPES, max_rank=8) == 2


def refused(folder: Path, shapes: dict[str, tuple[int, int]] = SHAPES, max_rank: int = 8) -> str:
    with pytest.raises(AdapterError) as caught:
        check_fit(folder, shapes, max_rank)
    return str(caught.value)


def test_targets_that_the_base_has_not(tmp_path: Path) -> None:
    text = refused(adapter(tmp_path), {"model.layers.0.mlp.up_proj": (6, 5)})
    assert text.count("no such layer") == 2


def test_a_with_the_wrong_input_width(tmp_path: Path) -> None:
    assert "does not fit" in refused(adapter(tmp_path, lora_A=torch.ones(2, 4)))


def test_b_with_the_wrong_output_width(tmp_path: Path) -> None:
    assert "does not fit" in refused(adapter(tmp_path, lora_B=torch.ones(7, 2)))


def test_a_rank_above_the_slots(tmp_path: Path) -> None:
    assert "--max-rank 2" in refused(adapter(tmp_path), max_rank=1)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_all_zero_deltas_have_no_effect(tmp_path: Path, zero: float) -> None:
    assert "no effect" in refused(adapter(tmp_path, lora_B=torch.full((6, 2), zero)))


def test_missing_b_has_no_effect(tmp_path: Path) -> None:
    assert "no effect" in refused(adapter(tmp_path, lora_B=None))


def test_tensors_that_are_not_lora(tmp_path: Path) -> None:
    text = refused(adapter(tmp_path, lora_magnitude_vector=torch.ones(6)))
    assert "not a LoRA tensor" in text
