"""What an adapter_config.json may ask for; everything else is refused by name."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from peft import IA3Config, LoraConfig
from peft.utils.other import get_pattern_key

from hive_expert.adapters import peft_config
from hive_expert.adapters.peft_config import parse_config, read_config
from hive_expert.errors import AdapterError
from hive_expert.package.peft_settings import HONOURED, REFUSED, WITHOUT_INFLUENCE

LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj"]}
IA3 = {"peft_type": "IA3", "target_modules": ["k_proj", "down_proj"]}


def test_what_peft_writes_is_read() -> None:
    written = LoraConfig(r=4, lora_alpha=8, target_modules=["up_proj", "q_proj"], use_dora=True)
    config = parse_config(json.loads(json.dumps(written.to_dict(), default=sorted)))
    assert (config.kind, config.targets) == ("dora", ("q_proj", "up_proj"))
    assert (config.rank_of("a.q_proj"), config.scale_of("a.q_proj")) == (4, 2)


@pytest.mark.parametrize("kind", [LoraConfig, IA3Config])
def test_every_setting_of_peft_is_known(kind: type) -> None:
    """A setting that neither table knows is refused once it is set; here none of them is."""
    known = HONOURED | WITHOUT_INFLUENCE | REFUSED.keys()
    refused_as_unknown = {"arrow_config", "kasa_config", "velora_config", "monteclora_config"}
    assert {f.name for f in dataclasses.fields(kind)} <= known | refused_as_unknown


@pytest.mark.parametrize(
    ("module", "rank", "alpha"),
    [
        ("model.layers.0.self_attn.q_proj", 4, 8),
        ("model.layers.1.self_attn.q_proj", 2, 8),
        ("model.layers.0.mlp.up_proj", 7, 3),
        ("model.layers.11.self_attn.q_proj", 4, 8),
    ],
)
@pytest.mark.parametrize("rslora", [False, True])
def test_patterns_choose_rank_and_scale_as_peft_does(
    module: str, rank: int, alpha: float, rslora: bool
) -> None:
    ranks = {"layers.1.self_attn.q_proj": 2, "up_proj": 7}
    alphas = {"^model.layers.0.mlp.up_proj": 3, "layers.0.mlp.up_proj": 3}
    config = parse_config(
        LORA | {"rank_pattern": ranks, "alpha_pattern": alphas, "use_rslora": rslora}
    )
    assert ranks.get(get_pattern_key(ranks.keys(), module), 4) == rank
    assert config.rank_of(module) == rank
    assert config.scale_of(module) == pytest.approx(alpha / (math.sqrt(rank) if rslora else rank))


def test_feedforward_modules_scale_their_input() -> None:
    config = parse_config(IA3 | {"feedforward_modules": ["down_proj"]})
    assert config.scales_input("model.layers.0.mlp.down_proj")
    assert not config.scales_input("model.layers.0.self_attn.k_proj")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"peft_type": "LOKR"}, "'LOKR' is not served"),
        ({"peft_type": "ADALORA"}, "'ADALORA' is not served"),
        ({"peft_type": None}, "not served"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_bias": True}, "lora_bias"),
        ({"bias": "all"}, 'bias="none"'),
        ({"layer_replication": [[0, 4], [2, 5]]}, "layer_replication"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"target_parameters": ["mlp.experts"]}, "target_parameters"),
        ({"alora_invocation_tokens": [1]}, "activated LoRA"),
        ({"use_qalora": True}, "use_qalora"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"some_new_feature": {"a": 1}}, "some_new_feature: is not known"),
        ({"init_lora_weights": "pissa"}, "path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "pissa_niter_16"}, "path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "olora"}, "path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "corda"}, "path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "loftq"}, "path_initial_model_for_weight_conversion"),
        ({"target_modules": ["lm_head"]}, "'lm_head' is not served"),
        ({"target_modules": ["embed_tokens"]}, "'embed_tokens' is not served"),
        ({"target_modules": ["input_layernorm"]}, "'input_layernorm' is not served"),
        ({"target_modules": 3}, "neither a list"),
        ({"r": 0}, "not a rank"),
        ({"r": True}, "not a rank"),
        ({"lora_alpha": math.nan}, "not a positive number"),
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern.q_proj"),
        ({"rank_pattern": {"(a+)+$": 2}}, "more than a name"),
        ({"alpha_pattern": {"q_proj": -1}}, "alpha_pattern.q_proj"),
    ],
)
def test_what_is_not_served(change: dict[str, Any], says: str) -> None:
    with pytest.raises(AdapterError) as caught:
        parse_config(LORA | change)
    assert says in str(caught.value)


def test_harmless_initialisations_are_accepted() -> None:
    for init in (True, False, "gaussian", "eva", "orthogonal"):
        parse_config(LORA | {"init_lora_weights": init})


def test_a_regular_expression_for_feedforward_modules_is_refused() -> None:
    with pytest.raises(AdapterError, match="feedforward_modules"):
        parse_config(IA3 | {"feedforward_modules": ".*down_proj"})


def test_all_problems_come_at_once() -> None:
    with pytest.raises(AdapterError) as caught:
        parse_config(LORA | {"bias": "all", "modules_to_save": ["score"], "r": 0})
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_what_is_no_json_object(text: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(AdapterError, match=r"adapter_config\.json"):
        read_config(tmp_path)


def test_a_missing_or_huge_file(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="cannot be read"):
        read_config(tmp_path)
    (tmp_path / "adapter_config.json").write_bytes(b" " * (peft_config.MAX_CONFIG_BYTES + 1))
    with pytest.raises(AdapterError, match="larger than"):
        read_config(tmp_path)
