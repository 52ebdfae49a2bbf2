"""What is trained to see what a part brings: one expert, with one thing changed each time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

USUAL = "usual"
SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LORA = {"type": "lora", "r": 8, "alpha": 16, "target_modules": list(SEVEN)}
IA3 = {
    "type": "ia3",
    "target_modules": ["k_proj", "v_proj", "down_proj"],
    "feedforward_modules": ["down_proj"],
}
SOFT_PROMPT = {
    "name": "sql",
    "path": "weights/soft_prompt",
    "tokens": 16,
    "init_method": "text",
    "init_text": "Answer with one SQL statement over the tables of the schema.",
    "purpose": "One statement.",
    "default": True,
}


@dataclass(frozen=True)
class Variant:
    """``data`` is a mix of `experts/expert-sql/mixes.py`. IA³ and soft prompts have a hundredth of
    LoRA's parameters and need larger steps: ``learning_rate`` is what PEFT's papers use for them.
    """

    name: str
    data: str = USUAL
    adapter: Mapping[str, Any] | None = None
    soft_prompt: bool = False
    learning_rate: float = 0.001


VARIANTS = (
    Variant(USUAL, adapter=LORA),
    Variant("few-joins", data="few-joins", adapter=LORA),
    Variant("one-wording", data="one-wording", adapter=LORA),
    Variant("bare-columns", data="bare-columns", adapter=LORA),
    Variant("dora", adapter={**LORA, "type": "dora"}),
    Variant("ia3", adapter=IA3, learning_rate=0.005),
    Variant("lora-and-soft-prompt", adapter=LORA, soft_prompt=True),
    Variant("soft-prompt", soft_prompt=True, learning_rate=0.01),
)


def expert_name(variant: Variant) -> str:
    return f"expert-sql-{variant.name}"


def manifest_of(shipped: Mapping[str, Any], variant: Variant) -> dict[str, Any]:
    """The shipped expert's manifest with one thing changed, and without what it claims to reach."""
    manifest: dict[str, Any] = copy.deepcopy(dict(shipped))
    for claimed in ("quality_metrics", "perf", "evaluation", "integrity"):
        manifest.pop(claimed, None)
    manifest["name"] = expert_name(variant)
    adapter = variant.adapter
    (base,) = manifest["base_models"]
    base["adapters"] = [{**adapter, "path": "weights/"}] if adapter else []
    if variant.soft_prompt:
        manifest["soft_prompts"] = [SOFT_PROMPT]
    config = manifest["training"]["config"]
    for field in ("adapter_type", "rank", "alpha", "target_modules", "feedforward_modules"):
        config.pop(field, None)
    if adapter:
        stated = {"type": "adapter_type", "r": "rank"}
        config |= {stated.get(name, name): value for name, value in adapter.items()}
    config["learning_rate"] = variant.learning_rate
    return manifest
