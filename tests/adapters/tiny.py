"""A base model of two layers, as safetensors and as torch modules, and PEFT adapters of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

ATTENTION = "model.layers.0.self_attn"
MLP = "model.layers.0.mlp"
SIZES = {
    f"{ATTENTION}.q_proj": (8, 6),
    f"{ATTENTION}.k_proj": (4, 6),
    f"{ATTENTION}.v_proj": (4, 6),
    f"{MLP}.up_proj": (10, 6),
    f"{MLP}.down_proj": (6, 10),
}
"""(out, in); q, k and v have a bias, as in Qwen2."""

CONFIGS: dict[str, PeftConfig] = {
    "lora": LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"]),
    "rslora": LoraConfig(
        r=2,
        lora_alpha=3,
        use_rslora=True,
        target_modules=["q_proj", "v_proj", "up_proj"],
        rank_pattern={"v_proj": 3},
        alpha_pattern={"mlp.up_proj": 7},
    ),
    "dora": LoraConfig(r=3, lora_alpha=6, use_dora=True, target_modules=["q_proj", "down_proj"]),
    "dora_rslora": LoraConfig(
        r=3,
        lora_alpha=2,
        use_dora=True,
        use_rslora=True,
        target_modules=["k_proj", "up_proj"],
        rank_pattern={"k_proj": 1},
    ),
    "ia3": IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
    "ia3_outputs": IA3Config(target_modules=["q_proj", "up_proj"], feedforward_modules=[]),
}


class Tiny(nn.Module):
    """The layers under the names that a Llama-like checkpoint gives them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Module()
        self.model.layers = nn.ModuleList([nn.Module()])
        block = self.model.layers[0]
        block.self_attn, block.mlp = nn.Module(), nn.Module()
        for name, (out_size, in_size) in SIZES.items():
            parent, _, last = name.rpartition(".")
            layer = nn.Linear(in_size, out_size, bias=parent == ATTENTION)
            nn.init.normal_(layer.weight)
            setattr(self.get_submodule(parent), last, layer)

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("its layers are called one by one")


def save_base(folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_file(Tiny().state_dict(), folder / "model.safetensors")
    return folder


def train(config: PeftConfig, folder: Path) -> PeftModel:
    """A PEFT model with random adapter weights, saved as PEFT saves it."""
    model = get_peft_model(Tiny(), config)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                parameter.normal_(0, 0.5)
            elif "magnitude" in name or "ia3_l" in name:
                parameter.mul_(1 + 0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model.eval()


def edit_config(folder: Path, **changes: Any) -> Path:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def edit_tensors(folder: Path, **changes: Tensor | None) -> Path:
    """Replace tensors whose names end in the given key (`_` for `.`), or leave them out."""
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    for ending, tensor in changes.items():
        names = [n for n in tensors if n.removesuffix(".weight").endswith(ending)]
        assert names, f"no tensor ends in {ending}"
        for name in names:
            if tensor is None:
                del tensors[name]
            else:
                tensors[name] = tensor.clone()
    save_file(tensors, file)
    return folder
