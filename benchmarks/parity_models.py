"""Tiny models and adapters of every kind, and what PEFT itself computes for them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file
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

from hive_expert.adapters.peft_config import WEIGHTS_FILE

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
ADAPTERS: dict[str, PeftConfig] = {
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
    "dora + soft prompt": LoraConfig(
        r=2, lora_alpha=4, use_dora=True, target_modules=ALL, task_type=TASK
    ),
}
SOFT_PROMPTS: dict[str, PeftConfig] = {
    "soft prompt": PromptTuningConfig(num_virtual_tokens=7, task_type=TASK),
    "dora + soft prompt": PromptTuningConfig(num_virtual_tokens=33, task_type=TASK),
}
"""Those of names in `ADAPTERS` go with that adapter, as in one package."""

COMPOSITIONS: dict[str, dict[str, float]] = {
    "0.7 lora + 0.3 lora": {"lora": 0.7, "lora, rsLoRA and patterns": 0.3},
    "lora + 0.5 dora": {"lora": 1.0, "dora": 0.5},
    "lora + 1.2 dora + 0.8 ia3": {
        "lora, rsLoRA and patterns": 1.0,
        "dora, part": 1.2,
        "ia3": 0.8,
    },
    "0.8 lora + soft prompt": {"lora": 0.8, "soft prompt": 1.0},
}
BASE = "base"


@dataclass(frozen=True)
class Source:
    """What a package applies: an adapter, a soft prompt, or both."""

    adapter: Path | None
    """A PEFT directory."""
    soft_prompt: Path | None = None
    """The file that PEFT's prompt tuning saves."""


@dataclass(frozen=True)
class Bench:
    """A base model, its adapters, and what they are asked."""

    base: Path
    adapters: Mapping[str, Source]
    compositions: Mapping[str, Mapping[str, float]]
    """Adapters and their weights."""
    requests: Sequence[tuple[str, list[int]]]
    """A name and a prompt each, to be answered in one batch."""
    vocabulary: int
    tokens: int
    """Length of an answer."""

    @property
    def names(self) -> tuple[str, ...]:
        return (BASE, *self.adapters, *self.compositions)


def build(model: str, root: Path) -> Bench:
    """Write a model with random weights, and adapters of every kind."""
    base = write_model(model, root / "base")
    adapters = write_sources(base, ADAPTERS, SOFT_PROMPTS, root)
    names = (BASE, *adapters, *COMPOSITIONS)
    return Bench(base, adapters, COMPOSITIONS, _mixed_batch(names), VOCABULARY, tokens=12)


def write_model(model: str, directory: Path) -> Path:
    """One of `MODELS` with random weights.

    The weights are bfloat16, so that float32 and bfloat16 serve the same model.
    """
    torch.manual_seed(0)
    base = MODELS[model]()
    with torch.no_grad():
        for name, parameter in base.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.5)
            elif "norm" in name:
                parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
    base.bfloat16().save_pretrained(directory)
    return directory


def write_sources(
    base: Path,
    adapters: Mapping[str, PeftConfig],
    soft_prompts: Mapping[str, PeftConfig],
    root: Path,
    *,
    strength: float = 1.0,
) -> dict[str, Source]:
    """Adapters and soft prompts with random numbers; the same at every call.

    Args:
        strength: how far they lead from the base model.
    """
    model = _load(base)
    layers = _write(model, adapters, root / "adapters", strength)
    prompts = _write(model, soft_prompts, root / "soft-prompts", strength)
    return {
        name: Source(layers.get(name), prompts[name] / WEIGHTS_FILE if name in prompts else None)
        for name in {**layers, **prompts}
    }


def _write(
    model: PreTrainedModel, configs: Mapping[str, PeftConfig], root: Path, strength: float
) -> dict[str, Path]:
    """One PEFT directory for each."""
    directories: dict[str, Path] = {}
    for index, (name, config) in enumerate(configs.items()):
        adapted = get_peft_model(_twin(model), deepcopy(config))
        torch.manual_seed(100 + index)
        with torch.no_grad():
            for key, parameter in adapted.named_parameters():
                if "lora_A" in key or "lora_B" in key:
                    parameter.normal_(0, 0.1 * strength)
                elif "magnitude" in key:
                    parameter.mul_(1 + 0.3 * strength * torch.randn_like(parameter))
                elif "ia3_l" in key:
                    parameter.copy_(1 + 0.4 * strength * torch.randn_like(parameter))
                elif "prompt_encoder" in key:
                    parameter.normal_(0, 0.3 * strength)
        directories[name] = root / str(index)
        adapted.save_pretrained(directories[name])
    return directories


class Reference:
    """Log probabilities by transformers and PEFT."""

    def __init__(
        self,
        base: Path,
        adapters: Mapping[str, Source],
        compositions: Mapping[str, Mapping[str, float]],
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """``dtype``: in float64, what is compared has no rounding of its own to speak of."""
        unadapted = _load(base).to(dtype)
        layers = {BASE: unadapted}
        rows: dict[str, Tensor] = {}
        for name, source in adapters.items():
            if source.adapter is not None:
                adapted = PeftModel.from_pretrained(_twin(unadapted), source.adapter)
                layers[name] = adapted.base_model.model.eval()
            if source.soft_prompt is not None:
                (rows[name],) = load_file(source.soft_prompt).values()
        for name, parts in compositions.items():
            members = [(layers[part], w) for part, w in parts.items() if part in layers]
            layers[name] = _summed(_twin(unadapted), members)
            # At most one part has a soft prompt, and brings it whole.
            for part in parts.keys() & rows.keys():
                rows[name] = rows[part]
        self._models = {
            name: _WithSoftPrompt(layers.get(name, unadapted), rows.get(name)).to(dtype)
            for name in (BASE, *adapters, *compositions)
        }

    @torch.no_grad()
    def logprobs(self, name: str, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
        """(len(answer), vocabulary): of each token of the answer, given those before it."""
        logits = self._models[name](torch.tensor([[*prompt, *answer]]))[0]
        return logits[-len(answer) - 1 : -1].log_softmax(-1)


class _WithSoftPrompt(nn.Module):
    """Logits of a model whose input begins with a soft prompt, as PEFT's prompt tuning has it."""

    def __init__(self, model: PreTrainedModel, rows: Tensor | None) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("rows", rows)

    def forward(self, ids: Tensor) -> Tensor:
        if self.rows is None:
            return self.model(input_ids=ids).logits
        embedded = self.model.get_input_embeddings()(ids)
        return self.model(inputs_embeds=torch.cat([self.rows[None], embedded], dim=1)).logits


def _mixed_batch(names: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Three requests for each, shuffled; all get one prompt in common, for caches to mix."""
    rng = random.Random(1)

    def prompt() -> list[int]:
        return [rng.randrange(3, VOCABULARY) for _ in range(rng.randrange(5, 40))]

    shared = [rng.randrange(3, VOCABULARY) for _ in range(40)]
    requests = [(name, prompt()) for _ in range(2) for name in names]
    requests += [(name, shared) for name in names]
    rng.shuffle(requests)
    return requests


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


def _load(base: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


def _twin(model: PreTrainedModel) -> PreTrainedModel:
    """Another model of the same parameters, which are not copied, for PEFT to change its layers."""
    return deepcopy(model, {id(p): p for p in model.parameters()})
