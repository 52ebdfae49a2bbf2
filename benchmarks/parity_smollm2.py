"""The embedded base model with the shipped experts and synthetic adapters of the other kinds."""

from __future__ import annotations

import json
from pathlib import Path

from parity_models import ALL, BASE, TASK, Bench, Source, write_sources
from peft import IA3Config, LoraConfig, PeftConfig, PromptTuningConfig
from transformers import AutoTokenizer

EXPERTS = Path(__file__).parents[1] / "experts"
SHIPPED = ("expert-sql", "expert-json")
CASES = {"expert-sql": (0, 200), "expert-json": (0,)}
"""Prompts: those of the shipped experts' own test cases, by their place."""

ADAPTERS: dict[str, PeftConfig] = {
    "dora": LoraConfig(r=4, lora_alpha=8, use_dora=True, target_modules=ALL, task_type=TASK),
    "ia3": IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"],
        feedforward_modules=["down_proj"],
        task_type=TASK,
    ),
}
SOFT_PROMPTS: dict[str, PeftConfig] = {
    "soft prompt": PromptTuningConfig(num_virtual_tokens=16, task_type=TASK)
}
COMPOSITIONS = {
    "0.6 sql + 0.4 json": {"expert-sql": 0.6, "expert-json": 0.4},
    "sql + 0.5 dora": {"expert-sql": 1.0, "dora": 0.5},
    "sql + 0.5 ia3 + soft prompt": {"expert-sql": 1.0, "ia3": 0.5, "soft prompt": 1.0},
}
STRENGTH = 0.2
"""Of the synthetic adapters: enough to change most answers, not so much that they are noise."""


def build_smollm2(base: Path, root: Path) -> Bench:
    """Every adapter gets every prompt.

    Args:
        base: the model's directory.
        root: where synthetic adapters are written.
    """
    adapters = {name: Source(EXPERTS / name / "weights") for name in SHIPPED}
    adapters |= write_sources(base, ADAPTERS, SOFT_PROMPTS, root, strength=STRENGTH)
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompts = [
        list(tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"])
        for name, places in CASES.items()
        for messages in _messages(name, places)
    ]
    requests = [(name, p) for p in prompts for name in (BASE, *adapters, *COMPOSITIONS)]
    return Bench(base, adapters, COMPOSITIONS, requests, len(tokenizer), tokens=5)


def _messages(expert: str, places: tuple[int, ...]) -> list[list[dict[str, str]]]:
    cases = json.loads((EXPERTS / expert / "tests" / "test_cases.json").read_bytes())["cases"]
    return [cases[place]["messages"] for place in places]
