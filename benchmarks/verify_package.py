"""A package of the shape of a LoRA adapter on all projections, full of noise and really signed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hive_expert.package.keys import SigningKey
from hive_expert.package.pack import build_package

LAYERS = 40
HIDDEN, QUERY, KEY, FEED_FORWARD = 2048, 2048, 1024, 6144
"""The widths of Qwen3-1.7B."""
SHAPES = {
    "q_proj": (HIDDEN, QUERY),
    "k_proj": (HIDDEN, KEY),
    "v_proj": (HIDDEN, KEY),
    "o_proj": (QUERY, HIDDEN),
    "gate_proj": (HIDDEN, FEED_FORWARD),
    "up_proj": (HIDDEN, FEED_FORWARD),
    "down_proj": (FEED_FORWARD, HIDDEN),
}
RANK_BYTES = 2 * LAYERS * sum(sum(shape) for shape in SHAPES.values())
"""What one rank more takes, in bfloat16."""


def make_package(folder: Path, size: int, signer: SigningKey) -> Path:
    """Write a package of about ``size`` bytes into ``folder``: 50 MB are rank 16."""
    rank = max(1, round(size / RANK_BYTES))
    directory = folder / "expert-noise"
    weights = directory / "weights"
    weights.mkdir(parents=True)
    write_weights(weights / "adapter_model.safetensors", rank)
    stated = {"r": rank, "target_modules": list(SHAPES)}
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "lora_alpha": 2 * rank, **stated}
    (weights / "adapter_config.json").write_text(json.dumps(config))
    adapter = {"type": "lora", "alpha": 2 * rank, "path": "weights/", **stated}
    manifest = {
        "name": "expert-noise",
        "version": "0.1.0",
        "schema_version": "2.0",
        "base_models": [{"name": "Qwen/Qwen3-1.7B", "sha256": "", "adapters": [adapter]}],
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return build_package(directory, model=None, output=folder, signer=signer).path


def write_weights(file: Path, rank: int) -> None:
    """Noise in bfloat16, the same in every layer."""
    noise = (
        np.random.default_rng(0).standard_normal(rank * RANK_BYTES // LAYERS // 2, dtype=np.float32)
        * 0.02
    )
    layer = (noise.view(np.uint32) >> 16).astype("<u2").tobytes()
    header: dict[str, object] = {}
    position = 0
    for number in range(LAYERS):
        for module, (inputs, outputs) in SHAPES.items():
            for side, shape in (("A", [rank, inputs]), ("B", [outputs, rank])):
                end = position + 2 * shape[0] * shape[1]
                name = f"base_model.model.model.layers.{number}.{module}.lora_{side}.weight"
                header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [position, end]}
                position = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for _ in range(LAYERS):
            out.write(layer)
