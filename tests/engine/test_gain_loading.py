"""Adapters with gains are loaded whole or refused; those without are vLLM's own business."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.lora import utils as lora_utils
from vllm.lora import worker_manager
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.peft_helper import PEFTHelper
from vllm.lora.worker_manager import LRUCacheWorkerLoRAManager
from vllm.v1.worker import lora_model_runner_mixin

from hive_expert.adapters.engine_format import write_form
from hive_expert.adapters.normal_form import LayerDelta, NormalForm
from hive_expert.engine import gain_loading
from hive_expert.engine.gain_loading import (
    GainModelManager,
    GainPEFTHelper,
    GainWorkerManager,
)
from hive_expert.engine.gains import GainSlots, LayerGains
from hive_expert.errors import AdapterError

LIMITS = SimpleNamespace(max_lora_rank=8)


def written(folder: Path, **gains: torch.Tensor) -> Path:
    delta = LayerDelta(torch.ones(1, 3), torch.ones(2, 1), **gains)
    write_form(NormalForm({"model.layers.0.mlp.up_proj": delta}), folder)
    return folder


def test_a_form_with_gains_is_legal_here_and_nowhere_else(tmp_path: Path) -> None:
    folder = str(written(tmp_path, gamma=torch.ones(2)))
    GainPEFTHelper.from_local_dir(folder, 128).validate_legal(LIMITS)
    with pytest.raises(ValueError, match="DoRA"):
        PEFTHelper.from_local_dir(folder, 128).validate_legal(LIMITS)


def test_a_form_without_gains_is_legal_everywhere(tmp_path: Path) -> None:
    folder = str(written(tmp_path))
    GainPEFTHelper.from_local_dir(folder, 128).validate_legal(LIMITS)
    PEFTHelper.from_local_dir(folder, 128).validate_legal(LIMITS)


def test_dora_without_its_gains_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_dora": True}))
    with pytest.raises(ValueError, match="DoRA"):
        GainPEFTHelper.from_local_dir(str(tmp_path), 128).validate_legal(LIMITS)


class Layer(GainSlots):
    """Takes every gain there is; layers that don't are tested in test_gains.py."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def prepare_gains(self, name: str, parts: Any) -> LayerGains:
        if any(part and "beta" in part for part in parts):
            raise AdapterError(f"{name} refuses")
        return LayerGains(*(None if p is None else p["gamma"] for p in parts))


def manager() -> GainModelManager:
    """A manager of a packed layer, a plain one and one that vLLM wraps in its own way."""
    found = GainModelManager.__new__(GainModelManager)
    found.modules = {"a.qkv_proj": Layer(), "a.o_proj": Layer(), "a.experts": torch.nn.Identity()}
    found.packed_modules = {"a.qkv_proj": ["a.q_proj", "a.k_proj", "a.v_proj"]}
    return found


def test_gains_go_to_their_place_in_packed_layers() -> None:
    gamma = torch.ones(2)
    prepared = manager().prepare_gains({"a.k_proj": {"gamma": gamma}}, all_layers=True)
    assert prepared == {"a.qkv_proj": LayerGains(None, gamma, None)}


def test_layers_without_gains_are_left_out() -> None:
    assert manager().prepare_gains({}, all_layers=True) == {}


def test_every_gain_without_a_layer_is_reported() -> None:
    gains = {
        "a.lm_head": {"gamma": torch.ones(1)},
        "b.q_proj": {"gamma": torch.ones(1)},
        "a.experts": {"gamma": torch.ones(1)},
        "a.q_proj": {"beta": torch.ones(1)},
    }
    with pytest.raises(AdapterError) as caught:
        manager().prepare_gains(gains, all_layers=True)
    assert len(caught.value.problems) == 4


def test_a_worker_with_some_of_the_layers_leaves_the_others_to_others() -> None:
    gains = {"b.q_proj": {"gamma": torch.ones(1)}}
    assert manager().prepare_gains(gains, all_layers=False) == {}


class Files:
    """Stands for vLLM's reading: counts it, and gives two pieces."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[int] = []
        self.pieces: list[int] = []
        monkeypatch.setattr(LRUCacheWorkerLoRAManager, "_load_adapter", self._load)

    def _load(self, request: Any) -> Any:
        number = request.lora_int_id
        self.begun.append(number)

        def pieces() -> Iterator[dict[str, Any]]:
            for name in ("a.q_proj", "a.o_proj"):
                self.pieces.append(number)
                one = torch.ones(1) if name == "a.o_proj" else torch.zeros(1)
                yield {name: SimpleNamespace(lora_a=torch.ones(1), lora_b=one)}
            if request.lora_path == "broken":
                raise OSError("the file ends")

        return SimpleNamespace(id=number, pieces=pieces)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    return Files(monkeypatch)


def worker() -> GainWorkerManager:
    found = GainWorkerManager.__new__(GainWorkerManager)
    found._readings, found._has_all_layers = {}, True
    found._adapter_manager = manager()
    return found


def request(number: int, folder: str) -> Any:
    return SimpleNamespace(lora_name="expert", lora_int_id=number, lora_path=folder)


def test_what_was_read_ahead_is_not_read_again(tmp_path: Path, files: Files) -> None:
    manager, one = worker(), request(1, str(written(tmp_path)))
    assert manager.read_ahead(one) is True
    assert manager.read_ahead(one) is True
    assert manager._load_adapter(one).id == 1
    assert (files.begun, files.pieces) == ([1], [1, 1])
    assert manager._load_adapter(one).id == 1
    assert files.begun == [1, 1]


def test_reading_stops_when_its_time_is_over_and_goes_on_from_there(
    tmp_path: Path, files: Files
) -> None:
    folder = str(written(tmp_path))
    manager, requests = worker(), [request(n, folder) for n in (1, 2)]
    turns = 0
    done = [False]
    while not all(done):
        done = [manager.read_ahead(r, 1e-9) for r in requests]
        turns += 1
    assert turns > 2
    assert files.pieces[:2] == [1, 2]
    assert [manager._load_adapter(r).id for r in requests] == [1, 2]
    assert files.begun == [1, 2]


def test_what_is_added_before_all_is_read_is_read_to_the_end(tmp_path: Path, files: Files) -> None:
    manager, one = worker(), request(1, str(written(tmp_path)))
    assert manager.read_ahead(one, 1e-9) is False
    assert manager._load_adapter(one).products == {"a.o_proj"}
    assert files.pieces == [1, 1]


def test_a_reading_that_failed_begins_anew(files: Files) -> None:
    manager, broken = worker(), request(1, "broken")
    for _ in range(2):
        with pytest.raises(OSError, match="ends"):
            manager.read_ahead(broken)
    assert files.begun == [1, 1]


def test_what_is_removed_before_it_was_added_is_forgotten(tmp_path: Path, files: Files) -> None:
    manager, one = worker(), request(1, str(written(tmp_path)))
    manager.read_ahead(one)
    manager._adapter_manager.remove_adapter = lambda _: False
    assert manager.remove_adapter(1) is False
    manager._load_adapter(one)
    assert files.begun == [1, 1]


def test_a_packed_layer_has_a_product_if_one_of_its_matrices_has() -> None:
    assert manager().with_products({"a.k_proj", "b.o_proj"}) == {"a.qkv_proj"}


def test_installing_twice_is_installing_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_utils, "_all_lora_classes", lora_utils._all_lora_classes)
    monkeypatch.setattr(worker_manager, "PEFTHelper", worker_manager.PEFTHelper)
    for module in (worker_manager, lora_model_runner_mixin):
        name = "LRUCacheWorkerLoRAManager"
        monkeypatch.setattr(module, name, getattr(module, name))
    gain_loading.install()
    once = lora_utils._all_lora_classes
    gain_loading.install()
    assert lora_utils._all_lora_classes == once
    assert lora_model_runner_mixin.LRUCacheWorkerLoRAManager is gain_loading.GainWorkerManager
    assert worker_manager.PEFTHelper is GainPEFTHelper


def test_a_stock_manager_or_layer_is_noticed() -> None:
    active = manager()
    assert gain_loading.is_active(active)
    assert not gain_loading.is_active(SimpleNamespace(modules=active.modules))
    stock = BaseLinearLayerWithLoRA.__new__(BaseLinearLayerWithLoRA)
    active.modules["a.up_proj"] = stock
    assert not gain_loading.is_active(active)
