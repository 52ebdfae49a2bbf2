"""Soft prompts are checked against the base, and stay what they are through form and disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.engine_format import read_form, write_form
from hive_expert.adapters.normal_form import NormalForm, compose, truncate
from hive_expert.adapters.soft_prompt import (
    MAX_TOKENS,
    SoftPromptFile,
    add_soft_prompt,
    neutral_form,
    read_header,
)
from hive_expert.adapters.store import AdapterStore, ready_for_engine
from hive_expert.errors import AdapterError, BaseModelError

HIDDEN = 6


@pytest.fixture
def base(tmp_path: Path) -> BaseWeights:
    folder = tmp_path / "base"
    folder.mkdir()
    tensors = {
        "model.embed_tokens.weight": torch.ones(9, HIDDEN),
        "model.layers.0.self_attn.q_proj.weight": torch.ones(8, HIDDEN),
    }
    save_file(tensors, folder / "model.safetensors")
    return BaseWeights(folder)


def saved(folder: Path, rows: Tensor, name: str = "prompt_embeddings", **others: Tensor) -> Path:
    path = folder / "tone.safetensors"
    save_file({name: rows, **others}, path)
    return path


def with_prompt(base: BaseWeights, rows: Tensor, folder: Path) -> NormalForm:
    return add_soft_prompt(neutral_form(base), read_header(saved(folder, rows), base))


def test_a_header_is_read(base: BaseWeights, tmp_path: Path) -> None:
    path = saved(tmp_path, torch.ones(3, HIDDEN))
    assert read_header(path, base) == SoftPromptFile(path, 3)


def test_what_peft_saves_is_read(tmp_path: Path) -> None:
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16}
    heads = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes, **heads))
    model.save_pretrained(tmp_path / "base")
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    get_peft_model(model, config).save_pretrained(tmp_path / "prompt")
    weights = tmp_path / "prompt" / "adapter_model.safetensors"
    assert read_header(weights, BaseWeights(tmp_path / "base")).tokens == 5


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.ones(3, HIDDEN + 1), f"made for embeddings of {HIDDEN + 1}"),
        (torch.ones(MAX_TOKENS + 1, HIDDEN), f"has {MAX_TOKENS + 1} tokens"),
        (torch.ones(HIDDEN), "is not one matrix"),
    ],
)
def test_a_misfit_is_refused(base: BaseWeights, tmp_path: Path, rows: Tensor, message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        read_header(saved(tmp_path, rows), base)


def test_another_name_is_refused(base: BaseWeights, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="is not one matrix named prompt_embeddings"):
        read_header(saved(tmp_path, torch.ones(3, HIDDEN), name="rows"), base)


def test_a_second_tensor_is_refused(base: BaseWeights, tmp_path: Path) -> None:
    path = saved(tmp_path, torch.ones(3, HIDDEN), more=torch.ones(1))
    with pytest.raises(AdapterError, match="is not one matrix"):
        read_header(path, base)


def test_a_broken_file_is_refused(base: BaseWeights, tmp_path: Path) -> None:
    path = tmp_path / "tone.safetensors"
    path.write_bytes(b"\x10")
    with pytest.raises(AdapterError, match="cannot be read"):
        read_header(path, base)


def test_nan_is_refused(base: BaseWeights, tmp_path: Path) -> None:
    rows = torch.ones(3, HIDDEN)
    rows[1, 2] = torch.nan
    with pytest.raises(AdapterError, match="NaN"):
        with_prompt(base, rows, tmp_path)


def test_a_base_without_known_embeddings_is_told(tmp_path: Path) -> None:
    save_file({"wte.weight": torch.ones(4, 4)}, tmp_path / "model.safetensors")
    with pytest.raises(BaseModelError, match="embed_tokens"):
        _ = BaseWeights(tmp_path).hidden_size


def test_it_survives_the_disk(base: BaseWeights, tmp_path: Path) -> None:
    rows = torch.randn(4, HIDDEN)
    form = with_prompt(base, rows, tmp_path)
    folder = tmp_path / "form"
    folder.mkdir()
    write_form(form, folder)
    found = read_form(folder).soft_prompt
    assert found is not None
    assert torch.equal(found, rows)


def test_a_composition_keeps_the_one_it_has(base: BaseWeights, tmp_path: Path) -> None:
    form = with_prompt(base, torch.randn(4, HIDDEN), tmp_path)
    for forms in ([form, neutral_form(base)], [neutral_form(base), form]):
        composed = compose(forms, [0.5, 2.0])
        assert composed.soft_prompt is form.soft_prompt
        assert composed.virtual_tokens == 4


def test_a_composition_of_two_is_refused(base: BaseWeights, tmp_path: Path) -> None:
    form = with_prompt(base, torch.randn(4, HIDDEN), tmp_path)
    with pytest.raises(AdapterError, match="2 of the adapters have one"):
        compose([form, form], [1, 1])


def test_a_weight_of_zero_leaves_it_out(base: BaseWeights, tmp_path: Path) -> None:
    form = with_prompt(base, torch.randn(4, HIDDEN), tmp_path)
    assert compose([form, neutral_form(base)], [0, 1]).soft_prompt is None


def test_cutting_the_rank_keeps_it(base: BaseWeights, tmp_path: Path) -> None:
    form = with_prompt(base, torch.randn(4, HIDDEN), tmp_path)
    assert truncate(form, 1)[0].soft_prompt is form.soft_prompt


def test_alone_it_is_made_ready_for_the_engine(base: BaseWeights, tmp_path: Path) -> None:
    prompt = read_header(saved(tmp_path, torch.randn(4, HIDDEN)), base)
    ready = ready_for_engine(None, "d1", base, AdapterStore(tmp_path / "store"), prompt)
    assert read_form(ready).virtual_tokens == 4
    assert read_form(ready).rank == 0
