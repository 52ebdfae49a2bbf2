"""PEFT's configuration: cut down, and held to the manifest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from peft import IA3Config, LoraConfig

from hive_expert.errors import ManifestError, PackageError
from hive_expert.manifest.adapter_model import Adapter
from hive_expert.package.adapter_config import check_adapter_config, packaged_adapter_config
from hive_expert.package.peft_settings import Patterns
from tests.package.samples import RANK, TARGETS, peft_config


def adapter(**changes: Any) -> Adapter:
    stated = {"type": "lora", "r": RANK, "alpha": 4, "target_modules": TARGETS, "path": "w/"}
    document = {field: value for field, value in (stated | changes).items() if value is not None}
    return Adapter.model_validate(document)


def check(config: Any, **changes: Any) -> Patterns:
    return check_adapter_config(json.dumps(config).encode(), adapter(**changes), "c")


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


@pytest.mark.parametrize("scaling", ["dora", "rslora", None])
def test_dora_is_a_lora_that_says_so(scaling: str | None) -> None:
    stated = {"type": "dora"} | ({"scaling": scaling} if scaling else {})
    packed = packaged_adapter_config(adapter(**stated), "org/base")
    check_adapter_config(packed, adapter(**stated), "c")
    config = LoraConfig(**json.loads(packed))
    assert (config.use_dora, config.use_rslora) == (True, scaling == "rslora")
    with pytest.raises(ManifestError, match="use_dora"):
        check_adapter_config(packed, adapter(scaling="rslora"), "c")


IA3 = {"type": "ia3", "r": None, "alpha": None, "target_modules": ["k_proj", "down_proj"]}


def test_what_is_packed_for_ia3_is_accepted_and_read_by_peft() -> None:
    stated = {**IA3, "feedforward_modules": ["down_proj"]}
    packed = packaged_adapter_config(adapter(**stated), "org/base")
    check_adapter_config(packed, adapter(**stated), "c")
    config = IA3Config(**json.loads(packed))
    assert config.feedforward_modules == {"down_proj"}
    assert config.target_modules == {"k_proj", "down_proj"}


def test_what_peft_itself_writes_for_ia3_is_accepted() -> None:
    written = IA3Config(target_modules=["k_proj"], feedforward_modules=[]).to_dict()
    written |= {key: sorted(written[key]) for key in ("target_modules", "feedforward_modules")}
    check(written, **{**IA3, "target_modules": ["k_proj"]})


@pytest.mark.parametrize(
    "change",
    [{"feedforward_modules": []}, {"feedforward_modules": None}, {"target_modules": ["k_proj"]}],
)
def test_a_difference_from_an_ia3_manifest_is_refused(change: dict[str, Any]) -> None:
    stated = {**IA3, "feedforward_modules": ["down_proj"]}
    config = json.loads(packaged_adapter_config(adapter(**stated), "org/base"))
    with pytest.raises(ManifestError):
        check(config | change, **stated)


def test_a_lora_in_place_of_an_ia3_is_refused() -> None:
    with pytest.raises(PackageError, match="not IA3"):
        check(peft_config(), **IA3)


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
        {"use_dora": True},
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
        {"modules_to_save": ["lm_head"]},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"lora_bias": True},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa_niter_16"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "corda"},
        {"init_lora_weights": "loftq"},
        {"rank_pattern": {"q_proj": 513}},
        {"alpha_pattern": {"q_proj": -4}},
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


@pytest.mark.parametrize("init", [True, False, "gaussian", "orthogonal", "eva"])
def test_initializations_that_leave_the_base_alone_are_accepted(init: object) -> None:
    check(peft_config(init_lora_weights=init))


@pytest.mark.parametrize(
    "change",
    [
        {"layers_to_transform": [0]},
        {"layers_pattern": "layers"},
        {"exclude_modules": ["lm_head"]},
        {"eva_config": {"rho": 2.0}},
    ],
)
def test_what_the_tensors_say_too_is_accepted(change: dict[str, Any]) -> None:
    check(peft_config(**change))


def test_patterns_are_packed_in_their_order_and_read_by_peft() -> None:
    ranks, alphas = {"layers.0.self_attn.v_proj": 4, "v_proj": 1}, {"q_proj": 8, "v_proj": 0.5}
    found = check(peft_config(rank_pattern=ranks, alpha_pattern=alphas))
    packed = packaged_adapter_config(adapter(), "org/base", found)
    config = LoraConfig(**json.loads(packed))
    assert list(config.rank_pattern.items()) == list(ranks.items())
    assert list(config.alpha_pattern.items()) == list(alphas.items())
    assert check_adapter_config(packed, adapter(), "c") == found


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(PackageError) as caught:
        check(peft_config(bias="all", modules_to_save=["lm_head"], use_qalora=True))
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("text", [b"[]", b"{", b'{"r": 2, "r": 3}'])
def test_a_file_that_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(PackageError):
        check_adapter_config(text, adapter(), "c")
