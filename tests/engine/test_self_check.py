"""The probe finds a layer that computes something else, and leaves no trace."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hive_expert.engine import soft_prompt
from hive_expert.engine.cpu_lora import RunPunicaWrapper
from hive_expert.engine.self_check import check
from hive_expert.engine.soft_prompt import SoftPromptEmbedding
from tests.engine.test_gains import LAYERS, SLOTS, vllm, wrap
from tests.engine.test_soft_prompt import STEP, Model

__all__ = ["vllm"]  # a fixture

pytestmark = pytest.mark.usefixtures("vllm")


def manager_of(*kinds: str, max_num_seqs: int = 16) -> Any:
    wrapper = RunPunicaWrapper(64, max_num_seqs, "cpu")
    modules = {f"model.layers.0.{kind}": wrap(kind) for kind in kinds}
    for layer in modules.values():
        layer.set_mapping(wrapper)
    return SimpleNamespace(
        modules=modules,
        lora_config=SimpleNamespace(fully_sharded_loras=False),
        lora_slots=SLOTS,
        vocab_size=100,
        max_num_seqs=max_num_seqs,
        embedding=None,
        _last_mapping="the last batch's",
    )


def test_layers_as_they_should_be_pass() -> None:
    findings = check(manager_of(*LAYERS))
    assert [finding.layer.rpartition(".")[2] for finding in findings] == list(LAYERS)
    assert all(finding.ok for finding in findings)


def test_a_worker_of_one_request_at_a_time_is_probed_too() -> None:
    assert all(finding.ok for finding in check(manager_of(*LAYERS, max_num_seqs=1)))


def test_slots_are_empty_afterwards() -> None:
    manager = manager_of(*LAYERS)
    check(manager)
    for layer in manager.modules.values():
        tables = (*layer.lora_a_stacked, *layer.lora_b_stacked, layer.gamma_table)
        assert not any(table.any() for table in tables)
        assert layer.punica_wrapper.runs == ()
    assert manager._last_mapping is None


def without_gains(layer: Any) -> None:
    layer.scale_output = lambda y: y


def without_input_gains(layer: Any) -> None:
    layer.scale_input = lambda x: x


def without_lora(layer: Any) -> None:
    layer.punica_wrapper.add_lora_linear = lambda *_, **__: None


def with_nan(layer: Any) -> None:
    layer.scale_output = lambda y: y * torch.nan


def with_the_last_slot_for_no_adapter(layer: Any) -> None:
    """What stock vLLM does on the CPU."""
    scale = layer.scale_output
    layer.scale_output = lambda y: scale(y) + 0.1


@pytest.mark.parametrize(
    "spoil",
    [without_gains, without_input_gains, without_lora, with_nan, with_the_last_slot_for_no_adapter],
)
def test_a_layer_that_is_wrong_is_found(spoil: Any) -> None:
    manager = manager_of("down")
    (layer,) = manager.modules.values()
    spoil(layer)
    (finding,) = check(manager)
    assert not finding.ok


def manager_with_embedding() -> Any:
    manager = manager_of()
    wrapper = RunPunicaWrapper(64, 16, "cpu")
    manager.embedding = soft_prompt.install(Model(), wrapper, SLOTS, STEP)
    return manager


def test_soft_prompts_as_they_should_be_pass() -> None:
    manager = manager_with_embedding()
    manager.embedding.positions[:4] = torch.tensor([7, 8, 9, 10])
    (finding,) = check(manager)
    assert (finding.layer, finding.error) == ("soft prompts", 0.0)
    assert not manager.embedding.rows.any()
    assert not manager.embedding.filled
    assert manager.embedding.positions[:4].tolist() == [7, 8, 9, 10]


@pytest.mark.parametrize("spoiled", ["never used", "in another slot", "for everybody"])
def test_soft_prompts_that_are_wrong_are_found(spoiled: str) -> None:
    manager = manager_with_embedding()
    embedding = manager.embedding
    match spoiled:
        case "never used":
            embedding.forward = embedding.inner.forward
        case "in another slot":
            embedding.fill = lambda slot, rows: SoftPromptEmbedding.fill(embedding, 1, rows)
        case _:
            embedding.forward = lambda ids: embedding.inner(ids) + 1
    (finding,) = check(manager)
    assert not finding.ok


def test_fully_sharded_layers_are_left_out() -> None:
    manager = manager_of("down")
    manager.lora_config.fully_sharded_loras = True
    assert check(manager) == ()
