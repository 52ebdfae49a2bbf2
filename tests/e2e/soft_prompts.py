"""An expert whose soft prompt is a text: what it answers is known to the last bit.

Its rows are the embeddings of `TEXT`, so that it must answer a prompt as the base model answers
`TEXT` followed by that prompt.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoTokenizer

from hive_expert.adapters.engine_format import SOFT_PROMPT

NAME = "expert-pirate"
TEXT = "You are a pirate. Whatever you are asked, you tell of ships, of rum and of the sea. " * 3


def text_ids(base: Path) -> list[int]:
    """The tokens that the soft prompt stands for."""
    ids: list[int] = AutoTokenizer.from_pretrained(base).encode(TEXT, add_special_tokens=False)
    return ids


def write_expert(base: Path, directory: Path) -> Path:
    """The expert's directory, for `hive-build package`."""
    ids = text_ids(base)
    with safe_open(base / "model.safetensors", "pt") as file:
        rows = file.get_tensor("model.embed_tokens.weight")[ids].float().contiguous()
    expert = directory / NAME
    expert.mkdir()
    save_file({SOFT_PROMPT: rows}, expert / "pirate.safetensors")
    manifest = {
        "name": NAME,
        "version": "0.1.0",
        "schema_version": "2.0",
        "base_models": [{"name": "HuggingFaceTB/SmolLM2-135M-Instruct", "adapters": []}],
        "soft_prompts": [{"name": "pirate", "path": "pirate.safetensors", "tokens": len(ids)}],
    }
    (expert / "manifest.json").write_text(json.dumps(manifest))
    return expert
