"""An adapter that is read in pieces is the one that vLLM reads at once."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from vllm.lora.lora_model import LoRAModel
from vllm.lora.peft_helper import PEFTHelper

from hive_expert.engine import reading
from hive_expert.engine.reading import PiecewiseModel, Reading, any_product

MODULES = [f"model.layers.{n}.self_attn.{p}" for n in range(3) for p in ("q_proj", "v_proj")]
HELPER = PEFTHelper(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])
EXPECTED = {"q_proj", "v_proj"}


def written(folder: Path, *modules: str) -> str:
    tensors = {}
    for number, module in enumerate(modules or MODULES):
        tensors[f"base_model.model.{module}.lora_A.weight"] = torch.full((2, 4), float(number))
        tensors[f"base_model.model.{module}.lora_B.weight"] = torch.full((3, 2), number + 0.5)
    save_file(tensors, folder / "adapter_model.safetensors")
    return str(folder)


def read(kind: type[LoRAModel], folder: str, **options: Any) -> Any:
    options = {"device": "cpu", "dtype": torch.bfloat16, "lora_model_id": 7} | options
    return kind.from_local_checkpoint(folder, EXPECTED, HELPER, **options)


@pytest.mark.parametrize("piece", [1, 3, 100])
def test_all_pieces_together_are_what_vllm_reads(
    tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PIECE", piece)
    folder = written(tmp_path)
    stock, ours = read(LoRAModel, folder), read(PiecewiseModel, folder)
    assert (ours.id, ours.rank, ours.loras) == (7, stock.rank, {})
    pieces = [name for part in ours.pieces() for name in part]
    assert sorted(pieces) == sorted(stock.loras) == sorted(ours.loras)
    for name, delta in stock.loras.items():
        mine = ours.loras[name]
        assert (mine.rank, mine.scaling) == (delta.rank, delta.scaling)
        for a, b in ((mine.lora_a, delta.lora_a), (mine.lora_b, delta.lora_b)):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


def test_what_nobody_has_any_more_is_gone_at_once(tmp_path: Path) -> None:
    model = read(PiecewiseModel, written(tmp_path))
    for _ in model.pieces():
        pass
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()


def test_prefixes_that_vllm_skips_are_skipped(tmp_path: Path) -> None:
    folder = written(tmp_path, "model.layers.0.self_attn.q_proj", "mtp.0.other")
    model = read(PiecewiseModel, folder, skip_prefixes=["mtp."])
    assert [sorted(part) for part in model.pieces()] == [["model.layers.0.self_attn.q_proj"]]


def test_modules_that_are_not_adapted_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    folder = written(tmp_path, "model.layers.0.mlp.up_proj", MODULES[0])
    with pytest.raises(ValueError, match=r"not adapted: model\.layers\.0\.mlp\.up_proj"):
        read(PiecewiseModel, folder)


def test_only_safetensors_are_read(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "adapter_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        read(PiecewiseModel, str(tmp_path))


def test_a_reading_gives_what_its_steps_return() -> None:
    steps = iter([None, None])

    def work() -> Any:
        yield from steps
        return "all"

    found = Reading(work())
    assert (found.go_on(1e-9), found.done) == (False, False)
    assert found.result() == "all"
    assert found.go_on() is True


@pytest.mark.parametrize(("a", "b", "expected"), [(1, 1, True), (0, 1, False), (1, 0, False)])
def test_a_product_needs_both(a: float, b: float, expected: bool) -> None:
    delta = SimpleNamespace(
        lora_a=torch.full((2, 2), float(a)), lora_b=torch.full((2, 2), float(b))
    )
    assert any_product(delta) is expected
