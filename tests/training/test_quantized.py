"""Training on a base that bitsandbytes holds in a few bits: what comes out serves on the whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoTokenizer

from hive_expert.errors import ManifestError, TrainingError, UsageError
from hive_expert.manifest.parse import manifest_from
from hive_expert.training import adapted_model
from hive_expert.training.config import Quantize, plan_training
from tests.training.conftest import manifest_document
from tests.training.test_adapter_kinds import DORA, KINDS, LORA, Make, loss_by_peft, make, train

__all__ = ["make"]  # a fixture

KINDS["lora"] = (LORA, False)


def base_of(kind: str, bits: Quantize, make: Make) -> PeftModel:
    plan, files = make(kind)
    plan = replace(plan, quantize=bits)
    return adapted_model.load_adapted(plan, files.base, AutoTokenizer.from_pretrained(files.base))


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        *((kind, "int4") for kind in ("lora", "dora", "ia3", "soft", "lora-soft")),
        *((kind, "int8") for kind in ("lora", "ia3", "soft", "lora-soft")),
    ],
)
def test_what_is_trained_on_few_bits_is_of_use_on_all(
    make: Make, kind: str, bits: Quantize
) -> None:
    adapter, soft = KINDS[kind]
    plan, files = make(kind)
    report = train((replace(plan, quantize=bits), files))
    assert report.plan["quantize"] == bits
    bare = loss_by_peft(files, adapter=False, soft=False)
    assert loss_by_peft(files, adapter is not None, soft) < bare


@pytest.mark.parametrize(
    ("bits", "layer", "dtype"),
    [("int4", "Linear4bit", torch.uint8), ("int8", "Linear8bitLt", torch.int8)],
)
def test_the_base_is_held_in_few_bits(
    make: Make, bits: Quantize, layer: str, dtype: torch.dtype
) -> None:
    model: Any = base_of("lora", bits, make).get_base_model()
    found = [m for m in model.modules() if type(m).__module__.startswith("bitsandbytes")]
    held = [m for m in found if type(m).__name__ == layer]
    assert len(held) == 2 * 7  # layers, modules
    assert {m.weight.dtype for m in held} == {dtype}
    assert not any(p.requires_grad for m in held for p in m.parameters())


def test_a_run_goes_on_only_in_as_many_bits(make: Make) -> None:
    plan, files = make("lora")
    train((replace(plan, quantize="int4"), files), max_steps=4)
    with pytest.raises(TrainingError, match=r"had another plan\.quantize"):
        train((plan, files), max_steps=4, resume=True)


def test_dora_on_int8_is_refused() -> None:
    document = manifest_document()
    document["base_models"][0]["adapters"] = [DORA]
    with pytest.raises(ManifestError, match="--quantize int4"):
        plan_training(manifest_from(document), device="cpu", quantize="int8")


def test_without_bitsandbytes_it_is_refused_by_name(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapted_model, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"bitsandbytes is not installed .*hive-expert\[qlora\]"):
        base_of("lora", "int4", make)
