"""What experts ask of the base model becomes vLLM's words, or a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hive_expert.engine.base_options import (
    BaseOptions,
    Platform,
    Rope,
    ServedBase,
    attention_backend,
    cache_bytes,
    choose,
    rope_of,
)
from hive_expert.errors import BaseModelError
from hive_expert.manifest.adapter_model import RopeScaling
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.parse import manifest_from
from tests.manifest.documents import changed, smallest

QWEN = {
    "max_position_embeddings": 32768,
    "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"},
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
YARN = Rope("yarn", 4.0, 32768)


def scaling(**fields: Any) -> RopeScaling:
    return RopeScaling.model_validate(fields)


def manifest(**fields: Any) -> Manifest:
    document = smallest()
    for path, value in fields.items():
        place = path if path.startswith("runtime") else f"base_models.0.{path}"
        document = changed(document, place.replace("__", "."), value)
    return manifest_from(document)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("yarn-128k", YARN),
        ("ntk-by-parts-128k", YARN),
        ("linear-64k", Rope("linear", 2.0, 32768)),
        ("yarn-32k", None),
        (scaling(type="yarn", factor=4), YARN),
        (scaling(type="yarn", max_position_embeddings=131072), YARN),
        (scaling(type="yarn", factor=4, max_position_embeddings=100_000), YARN),
        (scaling(type="yarn", factor=4, original_max_position_embeddings=32768), YARN),
        (scaling(type="yarn", factor=4, fine_grained=True), YARN),
        (scaling(type="linear", factor=2, fine_grained=False), Rope("linear", 2.0, 32768)),
    ],
)
def test_all_ways_to_ask_for_a_longer_context(asked: Any, found: Rope | None) -> None:
    assert rope_of(asked, QWEN) == found


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("dynamic-128k", "each request"),
        ("128k", "no scaling"),
        ("yarn-0k", "no scaling"),
        ("longer-128k", "no method"),
        (scaling(type="yarn"), "neither"),
        (scaling(type="dynamic", factor=2), "each request"),
        (scaling(type="yarn", factor=4, fine_grained=False), "always"),
        (scaling(type="linear", factor=4, fine_grained=True), "no fine-grained"),
        (
            scaling(type="yarn", factor=4, original_max_position_embeddings=65536),
            "trained for 32768.*leave it out",
        ),
        (
            scaling(type="linear", factor=16, original_max_position_embeddings=4096),
            "trained for 32768.*leave it out",
        ),
        (
            scaling(type="yarn", factor=4, original_max_position_embeddings=4096),
            "4096 times 4 is less than the 32768",
        ),
        (scaling(type="yarn", factor=2, max_position_embeddings=131072), "less than 131072"),
    ],
)
def test_what_cannot_be_is_refused(asked: Any, says: str) -> None:
    with pytest.raises(BaseModelError, match=says):
        rope_of(asked, QWEN)


def test_qwen3_is_stretched_from_the_length_that_its_makers_state() -> None:
    asked = scaling(type="yarn", factor=4, original_max_position_embeddings=32768)
    assert rope_of(asked, QWEN | {"max_position_embeddings": 40960}) == YARN


def test_a_base_that_states_its_original_length_is_stretched_from_no_other() -> None:
    asked = scaling(type="yarn", factor=4, original_max_position_embeddings=16384)
    own = {"rope_type": "yarn", "factor": 2, "original_max_position_embeddings": 32768}
    with pytest.raises(BaseModelError, match=r"trained for 32768 tokens \(leave it out\)"):
        rope_of(asked, QWEN | {"max_position_embeddings": 65536, "rope_parameters": own})


def test_a_base_with_positions_of_another_kind_is_not_stretched() -> None:
    llama = QWEN | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}}
    with pytest.raises(BaseModelError, match="llama3"):
        rope_of("yarn-128k", llama)


@pytest.mark.parametrize(
    ("config", "theta"),
    [
        (QWEN, 1e6),
        ({"max_position_embeddings": 32768, "rope_theta": 500.0}, 500.0),
        ({"max_position_embeddings": 32768}, 10_000.0),
    ],
)
def test_the_base_s_own_frequencies_stay(config: dict[str, Any], theta: float) -> None:
    overrides = YARN.overrides(config)
    assert overrides["rope_parameters"] == {
        "rope_type": "yarn",
        "factor": 4.0,
        "rope_theta": theta,
        "original_max_position_embeddings": 32768,
    }
    assert overrides["max_position_embeddings"] == 131072


@pytest.mark.parametrize("asked", ["yarn-128k", "linear-128k"])
def test_vllm_s_configuration_takes_the_overrides(asked: str, tmp_path: Any) -> None:
    """As vLLM applies them: transformers' configuration, updated, gives the longer context."""
    from transformers import AutoConfig
    from vllm.config.model import _get_and_verify_max_len

    rope = rope_of(asked, QWEN)
    assert rope is not None
    config = AutoConfig.for_model("qwen3", **QWEN)
    config.update(json.loads(json.dumps(rope.overrides(QWEN))))
    from vllm.transformers_utils.model_arch_config_convertor import ModelArchConfigConvertorBase

    arch = ModelArchConfigConvertorBase(config, config).convert()
    length = _get_and_verify_max_len(
        hf_config=config,
        model_arch_config=arch,
        tokenizer_config=None,
        max_model_len=None,
        disable_sliding_window=False,
        sliding_window=None,
    )
    assert length == 131072


def test_flags_beat_manifests_and_agreement_is_needed() -> None:
    asks = manifest(rope_scaling="yarn-128k", quantization="bf16", runtime__attention_kernel="sdpa")
    plain = manifest()

    def chosen(*manifests: Manifest, flags: BaseOptions | None = None, **options: Any) -> Any:
        return choose(flags or BaseOptions(), manifests, QWEN, "cpu", **options)

    assert chosen(plain) == BaseOptions()
    assert chosen(asks, plain) == BaseOptions("bfloat16", YARN, "CPU_ATTN")
    assert chosen(asks, own_rope=True).rope is None
    assert chosen(asks, manifest(rope_scaling="yarn-64k")).rope is None
    assert chosen(asks, manifest(quantization="fp32")).dtype == "auto"
    given = BaseOptions("float32", Rope("linear", 2, 32768), None)
    assert chosen(asks, flags=given).rope == given.rope
    assert chosen(asks, flags=given).dtype == "float32"
    assert chosen(manifest(rope_scaling={"type": "yarn"})) == BaseOptions()
    assert chosen(plain, unasked="float32").dtype == "float32"
    assert chosen(asks, unasked="float32").dtype == "bfloat16"


@pytest.mark.parametrize(
    ("fields", "options", "platform", "where"),
    [
        ({}, BaseOptions(), "cpu", None),
        ({"rope_scaling": "yarn-128k"}, BaseOptions(rope=YARN), "cpu", None),
        ({"rope_scaling": "yarn-128k"}, BaseOptions(), "cpu", "rope_scaling"),
        ({"rope_scaling": "yarn-32k"}, BaseOptions(rope=YARN), "cpu", "rope_scaling"),
        ({"rope_scaling": "yarn-64k"}, BaseOptions(rope=YARN), "cpu", "rope_scaling"),
        ({"rope_scaling": {"type": "yarn"}}, BaseOptions(), "cpu", "rope_scaling"),
        ({}, BaseOptions(rope=YARN), "cpu", None),
        ({"quantization": "bf16"}, BaseOptions("float32"), "cpu", None),
        (
            {"runtime__attention_kernel": "sdpa"},
            BaseOptions(attention_backend="CPU_ATTN"),
            "cpu",
            None,
        ),
        ({"runtime__attention_kernel": "flash_attention_2"}, BaseOptions(), "cpu", "attention"),
        ({"runtime__attention_kernel": "triton"}, BaseOptions(), "cuda", "attention"),
        ({"runtime__requires_kv_cache_persistence": True}, BaseOptions(), "cpu", None),
    ],
)
def test_an_expert_gets_what_it_needs_or_a_reason(
    fields: dict[str, Any], options: BaseOptions, platform: Platform, where: str | None
) -> None:
    problems = list(ServedBase(options, QWEN, platform).unmet(manifest(**fields)))
    if where is None:
        assert problems == []
    else:
        assert where in problems[0].where


def test_on_a_cpu_the_only_kernel_there_is_is_the_one_that_runs() -> None:
    served = ServedBase(BaseOptions(), QWEN, "cpu")
    assert served.unmet(manifest(runtime__attention_kernel="sdpa")) == ()


def test_an_expert_whose_kernel_there_is_not_takes_no_part_in_the_choice() -> None:
    sdpa, triton = (manifest(runtime__attention_kernel=k) for k in ("sdpa", "triton"))
    assert choose(BaseOptions(), [sdpa, triton], QWEN, "cuda").attention_backend == "TRITON_ATTN"


@pytest.mark.parametrize(
    ("quantization", "dtype", "own", "told"),
    [
        ("bf16", "auto", "bfloat16", None),
        ("bf16", "bfloat16", "float16", None),
        ("bf16", "float32", "bfloat16", "made for bf16, the base runs in float32"),
        ("fp32", "auto", "bfloat16", "made for fp32, the base runs in bfloat16"),
        ("fp32", "auto", "float32", "made for fp32, the base runs in the base's own precision"),
        ("none", "float32", "bfloat16", None),
    ],
)
def test_another_precision_than_an_expert_was_made_for_is_told(
    quantization: str, dtype: Any, own: str, told: str | None
) -> None:
    served = ServedBase(BaseOptions(dtype), {**QWEN, "dtype": own}, "cpu")
    warnings = served.otherwise(manifest(quantization=quantization))
    assert warnings == (() if told is None else (f"{told}: see --dtype",))


def test_the_reason_names_the_flag() -> None:
    served = ServedBase(BaseOptions(), QWEN, "cpu")
    (problem,) = served.unmet(manifest(rope_scaling="yarn-128k"))
    assert problem.remedy == "start with --rope-scaling yarn-128k"


def test_kernels_are_those_of_the_device() -> None:
    assert attention_backend("flash_attention_2", "cuda") == "FLASH_ATTN"
    assert attention_backend("sdpa", "cpu") == "CPU_ATTN"
    with pytest.raises(BaseModelError, match="one of sdpa"):
        attention_backend("flash", "cpu")


def test_a_token_s_cache_is_its_keys_and_values() -> None:
    assert cache_bytes(QWEN, 2) == 2 * 28 * 8 * 128 * 2
    assert cache_bytes(
        {"hidden_size": 576, "num_attention_heads": 9, "num_hidden_layers": 1}, 4
    ) == (2 * 9 * 64 * 4)
