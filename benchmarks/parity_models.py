"""Tiny models and adapters of every kind, and what PEFT itself computes for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.utils import logging

logging.disable_progress_bar()

VOCABULARY = 320
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TASK = "CAUSAL_LM"

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
MODELS = {
    # With norms on q and k.
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_SIZES, head_dim=32)),
    # With biases on q, k and v.
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_SIZES)),
    # With biases everywhere, those of o_proj and down_proj included.
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SIZES, attention_bias=True, mlp_bias=True)),
}
ADAPTERS = {
    "lora": LoraConfig(r=4, lora_alpha=8, target_modules=ALL, task_type=TASK),
    "lora, rsLoRA and patterns": LoraConfig(
        r=3,
        lora_alpha=5,
        use_rslora=True,
        target_modules=["q_proj", "up_proj", "down_proj"],
        rank_pattern={"up_proj": 2},
        alpha_pattern={"layers.1.self_attn.q_proj": 9},
        task_type=TASK,
    ),
    "dora": LoraConfig(r=4, lora_alpha=8, use_dora=True, target_modules=ALL, task_type=TASK),
    "dora, part": LoraConfig(
        r=5,
        lora_alpha=3,
        use_dora=True,
        use_rslora=True,
        target_modules=["q_proj", "v_proj", "gate_proj"],
        rank_pattern={"v_proj": 2},
        task_type=TASK,
    ),
    "ia3": IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"],
        feedforward_modules=["down_proj"],
        task_type=TASK,
    ),
    "ia3, all": IA3Config(
        target_modules=ALL, feedforward_modules=["down_proj", "o_proj"], task_type=TASK
    ),
}
COMPOSITIONS: dict[str, dict[str, float]] = {
    "0.7 lora + 0.3 lora": {"lora": 0.7, "lora, rsLoRA and patterns": 0.3},
    "lora + 0.5 dora": {"lora": 1.0, "dora": 0.5},
    "lora + 1.2 dora + 0.8 ia3": {
        "lora, rsLoRA and patterns": 1.0,
        "dora, part": 1.2,
        "ia3": 0.8,
    },
}
BASE = "base"
NAMES = (BASE, *ADAPTERS, *COMPOSITIONS)


@dataclass(frozen=True)
class Bench:
    """One tiny model and its adapters on disk."""

    root: Path

    @property
    def base(self) -> Path:
        return self.root / "base"

    def adapter(self, name: str) -> Path:
        return self.root / f"adapter-{sorted(ADAPTERS).index(name)}"


def build(model: str, root: Path) -> Bench:
    """Write a model with random weights, and one PEFT directory for each of `ADAPTERS`.

    The weights are bfloat16, so that float32 and bfloat16 serve the same model.
    """
    bench = Bench(root)
    torch.manual_seed(0)
    base = MODELS[model]()
    with torch.no_grad():
        for name, parameter in base.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.5)
            elif "norm" in name:
                parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
    base.bfloat16().save_pretrained(bench.base)
    for index, (name, config) in enumerate(ADAPTERS.items()):
        adapted = get_peft_model(_load(bench), config)
        torch.manual_seed(100 + index)
        with torch.no_grad():
            for key, parameter in adapted.named_parameters():
                if "lora_A" in key or "lora_B" in key:
                    parameter.normal_(0, 0.1)
                elif "magnitude" in key:
                    parameter.mul_(1 + 0.3 * torch.randn_like(parameter))
                elif "ia3_l" in key:
                    parameter.copy_(1 + 0.4 * torch.randn_like(parameter))
        adapted.save_pretrained(bench.adapter(name))
    return bench


class Reference:
    """Log probabilities by transformers and PEFT, in float32."""

    def __init__(self, bench: Bench) -> None:
        self._models = {BASE: _load(bench)}
        for name in ADAPTERS:
            adapted = PeftModel.from_pretrained(_load(bench), bench.adapter(name))
            self._models[name] = adapted.base_model.model.eval()
        for name, parts in COMPOSITIONS.items():
            members = [(self._models[part], weight) for part, weight in parts.items()]
            self._models[name] = _summed(_load(bench), members)

    @torch.no_grad()
    def logprobs(self, name: str, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
        """(len(answer), vocabulary): of each token of the answer, given those before it."""
        ids = torch.tensor([[*prompt, *answer]])
        logits = self._models[name](input_ids=ids).logits[0]
        return logits[len(prompt) - 1 : -1].log_softmax(-1)


class _SumOfDeltas(nn.Module):
    """A layer that adds to its base what each adapted layer adds to it."""

    def __init__(self, base: nn.Module, adapted: Sequence[tuple[nn.Module, float]]) -> None:
        super().__init__()
        self.base = base
        self.adapted = nn.ModuleList([layer for layer, _ in adapted])
        self.weights = [weight for _, weight in adapted]

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        deltas = (
            weight * (layer(x) - y)
            for layer, weight in zip(self.adapted, self.weights, strict=True)
        )
        return y + sum(deltas)


def _summed(base: PreTrainedModel, members: Sequence[tuple[nn.Module, float]]) -> nn.Module:
    linear = [n for n, m in base.named_modules() if n.rpartition(".")[2] in ALL]
    for name in linear:
        adapted = [(member.get_submodule(name), weight) for member, weight in members]
        parent, _, last = name.rpartition(".")
        setattr(base.get_submodule(parent), last, _SumOfDeltas(base.get_submodule(name), adapted))
    return base


def _load(bench: Bench) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(bench.base, dtype=torch.float32).eval()
