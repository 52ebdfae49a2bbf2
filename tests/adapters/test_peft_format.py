"""PEFT directories: equal to PEFT's own forward in the normal form, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.normal_form import apply
from hive_expert.adapters.peft_adapter import read_adapter
from hive_expert.adapters.peft_format import to_normal_form
from hive_expert.errors import AdapterError
from tests.adapters import tiny

Copy = Callable[[str], Path]


def peft_layers(folder: Path) -> dict[str, torch.nn.Module]:
    """PEFT's own layers, in float64 so that only its rounding of norms is left."""
    model = PeftModel.from_pretrained(tiny.Tiny(), folder).double().eval()
    return {name: model.base_model.model.get_submodule(name) for name in tiny.SIZES}


@pytest.mark.parametrize("name", sorted(tiny.CONFIGS))
def test_every_layer_computes_what_peft_computes(
    name: str, trained: Path, base: BaseWeights
) -> None:
    form = to_normal_form(read_adapter(trained / name), base)
    plain = tiny.Tiny().double()
    for module, layer in peft_layers(trained / name).items():
        linear = plain.get_submodule(module)
        x = torch.randn(5, linear.in_features, dtype=torch.float64)
        expected = layer(x)
        if module in form.layers:
            delta = form.layers[module]
            parts = {n: t.double() for n, t in delta.tensors()}
            assert not torch.allclose(expected, linear(x), atol=1e-2)
            found = apply(type(delta)(**parts), x, linear.weight, linear.bias)
        else:
            found = linear(x)
        assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_only_dora_is_bound_to_the_base(trained: Path, base: BaseWeights) -> None:
    bound = {
        name: to_normal_form(read_adapter(trained / name), base).base_fingerprint
        for name in tiny.CONFIGS
    }
    assert bound == {n: base.fingerprint if n.startswith("dora") else None for n in tiny.CONFIGS}


def refused(folder: Path, base: BaseWeights | None = None) -> str:
    with pytest.raises(AdapterError) as caught:
        found = read_adapter(folder)
        if base is not None:
            to_normal_form(found, base)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("dora", {"lora_magnitude_vector": None}, "has no lora_magnitude_vector"),
        ("lora", {"q_proj.lora_B": None}, "q_proj: has no lora_B"),
        ("lora", {"q_proj.lora_A": torch.ones(3, 6)}, "does not have rank 4"),
        ("lora", {"q_proj.lora_B": torch.ones(8, 5)}, "does not have rank 4"),
        ("dora", {"q_proj.lora_magnitude_vector": torch.ones(7)}, "does not go with B"),
        ("ia3", {"down_proj.ia3_l": torch.ones(6, 1)}, "not that of an input"),
        ("ia3", {"k_proj.ia3_l": torch.ones(1, 6)}, "not that of an output"),
    ],
)
def test_broken_layers(name: str, changes: dict[str, Any], says: str, adapter: Copy) -> None:
    assert says in refused(tiny.edit_tensors(adapter(name), **changes))


def test_a_magnitude_without_dora(adapter: Copy) -> None:
    folder = tiny.edit_config(adapter("dora"), use_dora=False)
    assert "does not belong to a lora adapter" in refused(folder)


def test_a_target_without_tensors(adapter: Copy) -> None:
    folder = tiny.edit_config(adapter("lora"), target_modules=["q_proj", "down_proj", "o_proj"])
    assert "o_proj has no tensors" in refused(folder)


def test_a_layer_that_is_no_target(adapter: Copy) -> None:
    folder = tiny.edit_config(adapter("lora"), target_modules=["q_proj"])
    assert "is not among target_modules" in refused(folder)


def test_tensors_of_layers_that_are_not_served(adapter: Copy) -> None:
    folder = adapter("lora")
    file = folder / "adapter_model.safetensors"
    tensors = {n.replace("q_proj", "embed_tokens"): t for n, t in load_file(file).items()}
    save_file(tensors, file)
    assert "embed_tokens is not served" in refused(folder)


def test_several_faults_are_reported_at_once(adapter: Copy) -> None:
    folder = adapter("lora")
    tiny.edit_tensors(folder, **{"q_proj.lora_B": None, "down_proj.lora_A": torch.ones(3, 10)})
    text = refused(folder)
    assert "has no lora_B" in text
    assert "does not have rank 4" in text


def test_pickled_weights_are_not_opened(adapter: Copy) -> None:
    folder = adapter("lora")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "cannot be read" in refused(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["lora", "dora", "ia3"])
def test_values_that_are_no_numbers(
    name: str, value: float, adapter: Copy, base: BaseWeights
) -> None:
    parts = {
        "lora": {"q_proj.lora_B": torch.full((8, 4), value)},
        "dora": {"q_proj.lora_magnitude_vector": torch.full((8,), value)},
        "ia3": {"k_proj.ia3_l": torch.full((4, 1), value)},
    }
    text = refused(tiny.edit_tensors(adapter(name), **parts[name]), base)
    assert "NaN or infinity" in text


def test_all_zero_updates_have_no_effect(adapter: Copy, base: BaseWeights) -> None:
    folder = adapter("lora")
    tiny.edit_tensors(
        folder, **{"q_proj.lora_B": torch.zeros(8, 4), "down_proj.lora_B": -torch.zeros(6, 4)}
    )
    assert "no effect" in refused(folder, base)


def test_an_untrained_dora_has_no_effect_even_with_rounded_magnitudes(
    tmp_path: Path, base: BaseWeights
) -> None:
    model = get_peft_model(tiny.Tiny(), tiny.CONFIGS["dora"])
    model.bfloat16().save_pretrained(tmp_path / "untrained")
    assert "no effect" in refused(tmp_path / "untrained", base)


def test_an_untrained_ia3_has_no_effect(adapter: Copy, base: BaseWeights) -> None:
    folder = adapter("ia3_outputs")
    tiny.edit_tensors(
        folder, **{"q_proj.ia3_l": torch.ones(8, 1), "up_proj.ia3_l": torch.ones(10, 1)}
    )
    assert "no effect" in refused(folder, base)


def test_a_row_without_direction_is_refused(adapter: Copy, base: BaseWeights) -> None:
    """B A = -W in one row: DoRA's norm is zero there."""
    folder = tiny.edit_config(adapter("dora"), lora_alpha=3)
    weight = tiny.Tiny().get_submodule(f"{tiny.ATTENTION}.q_proj").weight.detach()
    a = torch.zeros(3, 6)
    a[0] = -weight[2]
    b = torch.zeros(8, 3)
    b[2, 0] = 1
    tiny.edit_tensors(folder, **{"q_proj.lora_A": a, "q_proj.lora_B": b})
    assert "has no direction" in refused(folder, base)


def test_layers_the_base_has_not(adapter: Copy, base: BaseWeights) -> None:
    folder = adapter("lora")
    file = folder / "adapter_model.safetensors"
    tensors = {n.replace("layers.0", "layers.7"): t for n, t in load_file(file).items()}
    save_file(tensors, file)
    assert refused(folder, base).count("no such layer") == 2
