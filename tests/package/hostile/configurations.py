"""adapter_config.json: what an engine reads, saying other things than the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import package
from tests.package.samples import peft_config, sample_members

PATH = "adapter/adapter_config.json"


def _with(label: str, config: bytes | str) -> Attack:
    data = config if isinstance(config, bytes) else config.encode()
    return Attack(label, package({**sample_members(), PATH: data}))


@attack_class("adapter configurations that change the base model")
def changes_base() -> Iterator[Attack]:
    for changes in (
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {"modules_to_save": "all"},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"lora_bias": True},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa_niter_16"},
        {"init_lora_weights": "PiSSA"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "corda"},
        {"init_lora_weights": "loftq"},
        {"rank_pattern": {"q_proj": 1}},
        {"layer_replication": [[0, 4], [2, 5]]},
        {"trainable_token_indices": [1, 2, 3]},
        {"target_parameters": ["feed_forward.experts.gate_up_proj"]},
        {"fan_in_fan_out": True},
        {"rank_pattern": {"q_proj": 513}},
        {"rank_pattern": {"(a+)+$": 2}},
        {"use_qalora": True},
        {"megatron_config": {"x": 1}},
        {"rank_pattern": {"q_proj": True}},
        {"alpha_pattern": {"q_proj": 0}},
        {"alpha_pattern": {"x" * 257: 4}},
        {"alpha_pattern": ["q_proj"]},
        {"rank_pattern": {"q_proj": 64}},
        {"alpha_pattern": {".*": 1000}},
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"trust_remote_code": True},
        {"evil": "import os"},
        {"custom_modules": {"x": "y"}},
    ):
        yield _with(json.dumps(changes), json.dumps(peft_config(**changes)))


@attack_class("adapter configurations that contradict the manifest")
def contradicts() -> Iterator[Attack]:
    for changes in (
        {"r": 1},
        {"r": 64},
        {"r": 2.5},
        {"r": "2"},
        {"r": True},
        {"r": None},
        {"r": -2},
        {"r": 10**30},
        {"lora_alpha": 1e9},
        {"lora_alpha": "4"},
        {"lora_alpha": None},
        {"lora_alpha": [4]},
        {"use_rslora": True},
        {"use_dora": True},
        {"use_dora": "no"},
        {"use_rslora": 1},
        {"target_modules": "all-linear"},
        {"target_modules": ".*"},
        {"target_modules": []},
        {"target_modules": ["q_proj"]},
        {"target_modules": ["q_proj", "v_proj", "lm_head"]},
        {"target_modules": ["q_proj", "v_proj", "v_proj"]},
        {"target_modules": ["q_proj", 1]},
        {"target_modules": {"q_proj": 1, "v_proj": 1}},
        {"target_modules": None},
        {"peft_type": "IA3"},
        {"peft_type": "LOHA"},
        {"peft_type": "LOKR"},
        {"peft_type": "PROMPT_TUNING"},
        {"peft_type": "lora"},
        {"peft_type": None},
        {"peft_type": ["LORA"]},
        {"peft_type": "LORA\x00"},
    ):
        yield _with(json.dumps(changes), json.dumps(peft_config(**changes)))
    for key in ("peft_type", "r", "lora_alpha", "target_modules"):
        yield _with(f"no {key}", json.dumps({k: v for k, v in peft_config().items() if k != key}))


@attack_class("adapter configurations that are no JSON")
def no_json() -> Iterator[Attack]:
    text = json.dumps(peft_config())
    for label, data in {
        "empty": b"",
        "a list": b"[]",
        "null": b"null",
        "a repeated rank": text.replace('"r":', '"r": 64, "r":').encode(),
        "a repeated kind": text.replace(
            '"peft_type":', '"peft_type": "IA3", "peft_type":'
        ).encode(),
        "NaN": text.replace("0.0", "NaN").encode(),
        "a byte order mark": b"\xef\xbb\xbf" + text.encode(),
        "UTF-16": text.encode("utf-16"),
        "deep": b"[" * 500_000,
        "deep and whole": b'{"x":' * 40 + b"1" + b"}" * 40,
        "pickle": b"\x80\x04K\x01.",
        "a million": b'{"r": [' + b"1," * 400_000 + b"1]}",
        "5,000 unknown keys": json.dumps(peft_config(**{f"k{i}": 1 for i in range(5000)})).encode(),
        "100,000 unknown keys": json.dumps({f"k{i}": 1 for i in range(80_000)}).encode(),
        "more than a megabyte": text.encode() + b" " * (1 << 20),
        "a long value": json.dumps(peft_config(peft_type="x" * 900_000)).encode(),
        "a long module": json.dumps(peft_config(target_modules=["x" * 900_000])).encode(),
    }.items():
        yield _with(label, data)
    for cut in range(1, len(text), 24):
        yield _with(f"cut off at {cut}", text[:cut])
