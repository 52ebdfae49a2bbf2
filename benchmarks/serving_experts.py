"""Synthetic LoRA experts on all projections, packed and signed: for speed, not for answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from serving_bench import Bench

from hive_expert.adapters.base_model import adaptable_shapes
from hive_expert.engine.launch import ADAPTED_MODULES
from hive_expert.package.pack import build_package

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
TARGETS = [name for name in ADAPTED_MODULES if name not in ("qkv_proj", "gate_up_proj")]
RANK = 16


def names(count: int, stem: str = "expert-bench") -> list[str]:
    """Of `count` experts."""
    return [f"{stem}-{number:04}" for number in range(count)]


def weights(base: Path, seed: int, rank: int = RANK) -> bytes:
    """A LoRA of small random numbers in bfloat16, as a safetensors file."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for module, (out_size, in_size) in adaptable_shapes(base).items():
        for side, shape in (("A", (rank, in_size)), ("B", (out_size, rank))):
            values = torch.randn(shape, generator=generator) * (0.01 if side == "B" else 0.04)
            tensors[f"base_model.model.{module}.lora_{side}.weight"] = values.bfloat16()
    return save(tensors)


def write_expert(
    folder: Path, name: str, tensors: bytes, *, rank: int = RANK, version: str = "0.1.0"
) -> Path:
    """An unpacked expert; its `weights/` is an adapter that any vLLM loads."""
    directory = folder / f"{name}-{version}"
    adapter = directory / "weights"
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(tensors)
    stated = {"r": rank, "target_modules": TARGETS}
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "lora_alpha": rank, **stated}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    entry = {"type": "lora", "alpha": rank, "path": "weights/", **stated}
    manifest = {
        "name": name,
        "version": version,
        "schema_version": "2.0",
        "description": "An expert to measure with.",
        "base_models": [{"name": BASE, "prompt_template": "chatml", "adapters": [entry]}],
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def packed(bench: Bench, folder: Path, experts: Sequence[str]) -> dict[str, Path]:
    """Packages of so many different experts in `folder`; returns their adapters by name."""
    adapters = {}
    for number, name in enumerate(experts):
        directory = write_expert(bench.folder / "unpacked", name, weights(bench.base, number))
        build_package(directory, model=None, output=folder, signer=bench.signer)
        adapters[name] = directory / "weights"
    return adapters
