"""PEFT's configuration: cut down, and held to the manifest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from peft import LoraConfig

from hive_expert.errors import ManifestError, PackageError
from hive_expert.manifest.adapter_model import Adapter
from hive_expert.package.adapter_config import check_adapter_config, packaged_adapter_config
from tests.package.samples import RANK, TARGETS, peft_config


def adapter(**changes: Any) -> Adapter:
    stated = {"type": "lora", "r": RANK, "alpha": 4, "target_modules": TARGETS, "path": "w/"}
    return Adapter.model_validate(stated | changes)


def check(config: Any, **changes: Any) -> None:
    check_adapter_config(json.dumps(config).encode(), adapter(**changes), "c")


def test_a_plain_lora_as_declared_is_accepted() -> None:
    check(peft_config())


def test_what_peft_itself_writes_is_accepted() -> None:
    written = LoraConfig(r=RANK, lora_alpha=4, target_modules=list(TARGETS)).to_dict()
    written["target_modules"] = sorted(written["target_modules"])
    check(written)


def test_what_is_packed_is_accepted_and_read_by_peft() -> None:
    packed = packaged_adapter_config(adapter(scaling="rslora", dropout=0.05), "org/base")
    check_adapter_config(packed, adapter(scaling="rslora"), "c")
    config = LoraConfig(**json.loads(packed))
    assert (config.r, config.lora_alpha, config.use_rslora) == (RANK, 4, True)
    assert config.base_model_name_or_path == "org/base"


def test_nothing_of_the_authors_machine_is_packed() -> None:
    assert b"/home/ann" not in packaged_adapter_config(adapter(), "org/base")


@pytest.mark.parametrize(
    "change",
    [
        {"r": 8},
        {"lora_alpha": 8},
        {"lora_alpha": "4"},
        {"r": None},
        {"target_modules": ["q_proj"]},
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj", "v_proj", "o_proj"]},
        {"use_rslora": True},
    ],
)
def test_a_difference_from_the_manifest_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ManifestError):
        check(peft_config(**change))


def test_a_missing_rank_is_refused() -> None:
    config = peft_config()
    del config["r"]
    with pytest.raises(ManifestError, match="c: r: is null; the manifest says 2"):
        check(config)


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "IA3"},
        {"peft_type": None},
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"lora_bias": True},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa_niter_16"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "corda"},
        {"init_lora_weights": "loftq"},
        {"rank_pattern": {"q_proj": 4}},
        {"alpha_pattern": {"q_proj": 4}},
        {"layers_to_transform": [0]},
        {"layer_replication": [[0, 4]]},
        {"fan_in_fan_out": True},
        {"trainable_token_indices": [1]},
        {"alora_invocation_tokens": [1]},
        {"use_qalora": True},
        {"something_new_in_peft": 1},
    ],
)
def test_what_an_expert_cannot_have_is_refused_with_a_remedy(change: dict[str, Any]) -> None:
    with pytest.raises(PackageError) as caught:
        check(peft_config(**change))
    (problem,) = caught.value.problems
    assert next(iter(change)) in problem.where
    assert problem.remedy


@pytest.mark.parametrize("init", [True, False, "gaussian", "orthogonal"])
def test_initializations_that_leave_the_base_alone_are_accepted(init: object) -> None:
    check(peft_config(init_lora_weights=init))


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(PackageError) as caught:
        check(peft_config(bias="all", modules_to_save=["lm_head"], use_dora=True))
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("text", [b"[]", b"{", b'{"r": 2, "r": 3}'])
def test_a_file_that_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(PackageError):
        check_adapter_config(text, adapter(), "c")
