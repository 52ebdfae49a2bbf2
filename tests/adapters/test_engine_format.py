"""Normal forms survive the disk, and a vLLM without our plugin refuses those with gains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.engine_format import (
    GAINS_FILE,
    is_form,
    read_form,
    read_gains,
    write_form,
)
from hive_expert.adapters.normal_form import NormalForm, compose
from hive_expert.adapters.peft_adapter import read_adapter
from hive_expert.adapters.peft_format import to_normal_form
from hive_expert.errors import AdapterError
from tests.adapters import tiny


def converted(trained: Path, base: BaseWeights, name: str) -> NormalForm:
    return to_normal_form(read_adapter(trained / name), base)


def assert_equal(left: NormalForm, right: NormalForm) -> None:
    assert left.base_fingerprint == right.base_fingerprint
    assert list(left.layers) == list(right.layers)
    for module, delta in left.layers.items():
        ours, theirs = dict(delta.tensors()), dict(right.layers[module].tensors())
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[part]) for part, tensor in ours.items())


@pytest.mark.parametrize("name", sorted(tiny.CONFIGS))
def test_a_written_form_is_read_back(
    name: str, trained: Path, base: BaseWeights, tmp_path: Path
) -> None:
    form = converted(trained, base, name)
    write_form(form, tmp_path)
    assert_equal(read_form(tmp_path), form)
    assert is_form(tmp_path)
    assert not is_form(trained / name)


def test_a_composition_of_kinds_is_read_back(
    trained: Path, base: BaseWeights, tmp_path: Path
) -> None:
    forms = [converted(trained, base, n) for n in ("lora", "dora_rslora", "ia3_outputs", "lora")]
    whole = compose(forms, [1, 0.5, 0.25, -1])
    write_form(whole, tmp_path)
    assert_equal(read_form(tmp_path), whole)


@pytest.mark.parametrize("name", sorted(tiny.CONFIGS))
def test_only_plain_lora_looks_plain_to_others(
    name: str, trained: Path, base: BaseWeights, tmp_path: Path
) -> None:
    write_form(converted(trained, base, name), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["use_dora"] is (name not in ("lora", "rslora"))
    assert config["r"] == config["lora_alpha"]
    assert (tmp_path / GAINS_FILE).is_file() is config["use_dora"]


def test_gains_alone_get_one_zero_pair(trained: Path, base: BaseWeights, tmp_path: Path) -> None:
    """vLLM refuses a directory without any A and B."""
    write_form(converted(trained, base, "ia3"), tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert len(tensors) == 2
    assert not any(tensor.any() for tensor in tensors.values())


def test_gains_are_read_by_module(trained: Path, base: BaseWeights, tmp_path: Path) -> None:
    write_form(converted(trained, base, "ia3"), tmp_path)
    gains = read_gains(tmp_path)
    assert {m.rpartition(".")[2]: set(parts) for m, parts in gains.items()} == {
        "k_proj": {"gamma"},
        "v_proj": {"gamma"},
        "down_proj": {"beta"},
    }


@pytest.mark.parametrize(
    "tensors",
    [{"a.q_proj.alpha": torch.ones(3)}, {"a.q_proj.gamma": torch.ones(3, 1)}],
    ids=["name", "shape"],
)
def test_strange_gains_are_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(tensors, tmp_path / GAINS_FILE)
    with pytest.raises(AdapterError, match="is not a gain"):
        read_gains(tmp_path)


def test_damage_is_noticed(trained: Path, base: BaseWeights, tmp_path: Path) -> None:
    write_form(converted(trained, base, "dora"), tmp_path)
    gains = tmp_path / GAINS_FILE
    gains.write_bytes(gains.read_bytes()[:-5])
    with pytest.raises(AdapterError):
        read_form(tmp_path)
    with pytest.raises(AdapterError, match="not a normal form"):
        read_form(trained / "lora")
