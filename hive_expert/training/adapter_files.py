"""Writes a trained adapter in PEFT's own format."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file


def write_adapter(model: PeftModel, base_name: str, output: Path) -> None:
    """Write PEFT's two files, weights in bfloat16, and nothing else.

    The base is named as the manifest names it, since a path of this machine helps nobody.
    """
    output.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in get_peft_model_state_dict(model).items()
    }
    partial = output / "adapter_model.safetensors.partial"
    save_file(weights, partial, metadata={"format": "pt"})
    partial.chmod(0o644)  # safetensors writes for the owner alone
    partial.replace(output / "adapter_model.safetensors")
    config = model.peft_config["default"].to_dict()
    config["base_model_name_or_path"] = base_name
    config["inference_mode"] = True
    # PEFT keeps the names as a set, whose order changes from run to run.
    config["target_modules"] = sorted(config["target_modules"])
    text = json.dumps(config, indent=2, sort_keys=True, default=str)
    (output / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
