"""Experts made for the tests: sound ones of each kind, and signed ones that must be refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from transformers import AutoModelForCausalLM

from hive_expert.engine.effect import PROBE
from hive_expert.package.keys import SigningKey
from tests.package.samples import forged, lora_name, peft_config

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
HIDDEN, HEADS_KV = 576, 192
"""Of the base: the width of its layers, and of k and v."""

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS: dict[str, tuple[PeftConfig, dict[str, Any]]] = {
    "expert-dora": (
        LoraConfig(r=2, lora_alpha=4, use_dora=True, target_modules=ALL),
        {"type": "dora", "r": 2, "alpha": 4},
    ),
    "expert-ia3": (
        IA3Config(
            target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]
        ),
        {"type": "ia3", "feedforward_modules": ["down_proj"]},
    ),
    "expert-tall": (
        LoraConfig(r=12, lora_alpha=12, target_modules=["q_proj", "down_proj"]),
        {"type": "lora", "r": 12, "alpha": 12},
    ),
}
"""Name → what PEFT is told, and what the manifest says."""

HOSTILE = (
    "<img src=x onerror=\"window.owned=1\"><script>document.title='owned'</script>"
    '<a href="javascript:alert(1)">{{7*7}}</a>'
)
"""The description of one of them: what a page must show and never obey."""


def write_experts(base_model: Path, root: Path) -> list[Path]:
    """Expert directories with random adapters of the base that change most of its answers."""
    return [
        _write_expert(base_model, root / name, *kind, seed)
        for seed, (name, kind) in enumerate(KINDS.items())
    ]


def _write_expert(
    base_model: Path, directory: Path, config: PeftConfig, stated: Mapping[str, Any], seed: int
) -> Path:
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base_model), config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                parameter.normal_(0, 0.02)
            elif "magnitude" in name or "ia3_l" in name:
                parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
    model.save_pretrained(directory / "weights")
    targets = sorted(config.target_modules or [])
    (directory / "manifest.json").write_text(
        json.dumps(
            {
                **_manifest(directory.name, {**stated, "target_modules": targets}, "weights/"),
                "description": HOSTILE,
            }
        )
    )
    (directory / "README.md").write_text("# An expert for tests\n")
    (directory / "LICENSE").write_text("Apache-2.0\n")
    return directory


@dataclass(frozen=True)
class Refused:
    """An adapter that must never reach the engine, and what the reason must say."""

    tensors: Mapping[str, Tensor]
    says: str
    targets: tuple[str, ...] = ("q_proj",)
    rank: int = 2
    feedforward: tuple[str, ...] | None = None
    """Of an IA3 adapter; a LoRA has none."""


def _lora(
    rank: int = 2, in_size: int = HIDDEN, module: str = "q_proj", layer: int = 0, value: float = 1
) -> dict[str, Tensor]:
    return {
        lora_name(module, "A", layer): torch.full((rank, in_size), float(value)),
        lora_name(module, "B", layer): torch.ones(HIDDEN, rank),
    }


def _ia3(layer: int, *shape: int) -> dict[str, Tensor]:
    return {f"base_model.model.model.layers.{layer}.self_attn.k_proj.ia3_l": torch.full(shape, 2.0)}


OVERFLOWING = "expert-wild"
"""Finite in its files, and with almost any prompt the model computes what is no number."""

TOO_SMALL = "expert-too-small"
"""Not zero in its files, and nothing at all beside the base's own weights."""

REFUSED = {
    "expert-wrong-shape": Refused(_lora(in_size=HIDDEN - 1), "the base model's is 576"),
    "expert-large-rank": Refused(_lora(rank=32), "--max-rank 32", rank=32),
    "expert-nan": Refused(_lora(value=float("nan")), "NaN"),
    "expert-unknown-module": Refused(_lora() | _lora(module="query"), "query"),
    "expert-absent-layer": Refused(_lora(layer=30), "no such layer"),
    "expert-absent-gain": Refused(
        _ia3(30, HEADS_KV, 1), "no such layer", ("k_proj",), feedforward=()
    ),
    "expert-packed-input": Refused(
        _ia3(0, 1, HIDDEN),
        "an input that other modules share",
        ("k_proj",),
        feedforward=("k_proj",),
    ),
    "expert-no-effect": Refused(_lora(value=0), "no effect"),
}


def write_refused(directory: Path, signer: SigningKey) -> None:
    """All of `REFUSED` as packages, rightly signed: only what they hold is wrong."""
    invisible = Refused(_lora(value=1e-30), "only the engine's answers show that")
    _write_forged({**REFUSED, TOO_SMALL: invisible}, directory, signer)


def write_overflowing(base_model: Path, directory: Path, signer: SigningKey) -> None:
    """`OVERFLOWING` as a package. The prompt that tries an adapter's effect is none of those with
    which it overflows, so that the server loads it."""
    away = _away_from(base_model, PROBE)
    wild = {
        lora_name("q_proj", "A", 0): (1e10 * away / away.norm())[None].float(),
        lora_name("q_proj", "B", 0): torch.full((HIDDEN, 1), 1e30),
    }
    _write_forged({OVERFLOWING: Refused(wild, "", rank=1)}, directory, signer)


def _away_from(base_model: Path, tokens: tuple[int, ...]) -> Tensor:
    """A direction in which the first layer's inputs of these tokens have no part; (HIDDEN,)."""
    with safe_open(base_model / "model.safetensors", "pt") as weights:
        embeddings = weights.get_tensor("model.embed_tokens.weight")[list(tokens)].double()
        scale = weights.get_tensor("model.layers.0.input_layernorm.weight").double()
    basis, _ = torch.linalg.qr((embeddings * scale).T)
    some = torch.randn(HIDDEN, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for _ in range(2):  # the second time for what rounding left
        some -= basis @ (basis.T @ some)
    return some


def _write_forged(experts: Mapping[str, Refused], directory: Path, signer: SigningKey) -> None:
    for name, refused in experts.items():
        weights = save(dict(refused.tensors))
        stated: dict[str, Any] = {
            "type": "lora",
            "r": refused.rank,
            "alpha": 4,
            "target_modules": list(refused.targets),
            "size_bytes": len(weights),
            "sha256": hashlib.sha256(weights).hexdigest(),
        }
        config = peft_config(r=refused.rank, target_modules=list(refused.targets))
        if refused.feedforward is not None:
            stated |= {"type": "ia3", "feedforward_modules": list(refused.feedforward)}
            del stated["r"], stated["alpha"]
            config = {
                "peft_type": "IA3",
                "target_modules": list(refused.targets),
                "feedforward_modules": list(refused.feedforward),
            }
        members = {
            "adapter/adapter_config.json": json.dumps(config).encode(),
            "adapter/adapter_model.safetensors": weights,
        }
        document = _manifest(name, stated, "adapter/")
        forged(directory / f"{name}.expert", members, signer=signer, manifest=document)


def _manifest(name: str, adapter: Mapping[str, Any], path: str) -> dict[str, Any]:
    return {
        "name": name,
        "version": "0.1.0",
        "schema_version": "2.0",
        "description": "An expert for tests.",
        "base_models": [{"name": BASE, "adapters": [{**adapter, "path": path}]}],
    }
