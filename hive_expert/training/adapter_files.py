"""Writes a trained adapter and soft prompt in PEFT's own formats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
SOFT_PROMPT = "prompt_embeddings"
"""Name that PEFT's prompt tuning gives its one tensor."""


def write_adapter(model: PeftModel, base_name: str, output: Path) -> None:
    """Write PEFT's two files and nothing else.

    Matrices are written in bfloat16. Vectors (IA3's, DoRA's magnitudes) stay in float32: they
    scale whole rows, which bfloat16 would do with an error of up to 0.4 %.
    """
    weights = {
        name: tensor.detach().to("cpu", _stored_dtype(name)).contiguous()
        for name, tensor in get_peft_model_state_dict(model).items()
    }
    _write(weights, output / WEIGHTS)
    _write_config(model.peft_config["default"], base_name, output)


def write_soft_prompt(
    rows: torch.Tensor, base: Any, base_name: str, config: PeftConfig, path: Path
) -> None:
    """Write a soft prompt, in float32, for a base model.

    A ``path`` that ends with ``.safetensors`` becomes that file alone; any other one a folder
    with both of PEFT's files, which PEFT loads as prompt tuning.
    """
    weights = {SOFT_PROMPT: rows.detach().to("cpu", torch.float32).contiguous()}
    if path.suffix == ".safetensors":
        _write(weights, path)
        return
    config.token_dim = rows.shape[1]
    config.num_transformer_submodules = 1
    config.num_attention_heads = base.num_attention_heads
    config.num_layers = base.num_hidden_layers
    _write(weights, path / WEIGHTS)
    _write_config(config, base_name, path)


def save_soft_rows(rows: torch.Tensor, directory: Path) -> None:
    """Keep a soft prompt in a checkpoint beside what PEFT saves there."""
    _write(
        {SOFT_PROMPT: rows.detach().cpu().contiguous()}, directory / f"{SOFT_PROMPT}.safetensors"
    )


def load_soft_rows(rows: torch.nn.Parameter, directory: Path) -> None:
    """Fill a soft prompt from a checkpoint."""
    stored = load_file(directory / f"{SOFT_PROMPT}.safetensors")[SOFT_PROMPT]
    with torch.no_grad():
        rows.copy_(stored)


def _stored_dtype(name: str) -> torch.dtype:
    return torch.float32 if "magnitude" in name or "ia3" in name else torch.bfloat16


def _write(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    save_file(dict(weights), partial, metadata={"format": "pt"})
    partial.chmod(0o644)  # safetensors writes for the owner alone
    partial.replace(path)


def _write_config(settings: PeftConfig, base_name: str, output: Path) -> None:
    """The base is named as the manifest names it: a path of this machine helps nobody."""
    config = settings.to_dict()
    config["base_model_name_or_path"] = base_name
    config["inference_mode"] = True
    # PEFT keeps the names as sets, whose order changes from run to run.
    for names in ("target_modules", "feedforward_modules"):
        if isinstance(config.get(names), set | list):
            config[names] = sorted(config[names])
    text = json.dumps(config, indent=2, sort_keys=True, default=str)
    (output / CONFIG).write_text(text + "\n", encoding="utf-8")
