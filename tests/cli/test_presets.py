"""Each preset in configs/ parses, and vLLM's own parser takes the arguments that it yields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hive_expert.adapters.base_model import BaseModel
from hive_expert.cli import serve
from hive_expert.cli.config_file import read_options
from hive_expert.cli.serve_base import BaseFlags, served_base
from hive_expert.cli.serve_replicas import ReplicaOptions, require_replicas, scaling_of
from hive_expert.engine import plugin, precision
from hive_expert.engine.launch import EngineSettings, parse_arguments, require_room
from hive_expert.replicas.settings import Scaling

CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = sorted(CONFIGS.glob("*.toml"))

SMOLLM2 = {
    "max_position_embeddings": 8192,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "dtype": "bfloat16",
}
QWEN3 = {
    "max_position_embeddings": 40960,
    "rope_theta": 1000000,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "torch_dtype": "bfloat16",
}

YIELDED: dict[str, dict[str, Any]] = {
    "cpu-smollm2": {"dtype": "auto", "max_loras": 8, "max_lora_rank": 16, "max_num_seqs": 16},
    "cpu-smollm2-replicas": {"max_loras": 4, "max_cpu_loras": 16, "max_num_seqs": 16},
    "rtx3060-qwen3-0.6b": {
        "dtype": "bfloat16",
        "max_loras": 8,
        "max_lora_rank": 32,
        "max_model_len": 16384,
        "gpu_memory_utilization": 0.85,
    },
    "rtx4090-qwen3-0.6b": {"max_loras": 16, "max_num_seqs": 128, "gpu_memory_utilization": 0.9},
    "h100": {"max_loras": 32, "max_lora_rank": 64, "gpu_memory_utilization": 0.92},
}


def engine_of(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> EngineSettings:
    """What `hive-serve` makes of a preset, on the device that the preset is for."""
    on_cpu = path.stem.startswith("cpu")
    monkeypatch.setattr(plugin, "serves_on", lambda: "cpu" if on_cpu else "cuda")
    monkeypatch.setattr(precision, "computes_16_bits", lambda: True)
    context = serve.main.make_context(
        "hive-serve", ["--experts-dir", str(folder), "--config", str(path)]
    )
    values = context.params
    (folder / "config.json").write_text(json.dumps(SMOLLM2 if on_cpu else QWEN3))
    flags = BaseFlags(**{name: values[name] for name in BaseFlags.__dataclass_fields__})
    served = served_base(flags, [], folder)
    return EngineSettings(
        BaseModel(("Base",), folder),
        options=served.options,
        max_model_len=flags.max_model_len,
        max_num_seqs=values["max_num_seqs"],
        max_slots=values["max_slots"],
        max_cpu_experts=values["max_cpu_experts"] or 32,
        max_rank=values["max_rank"],
        kv_cache_gib=flags.kv_cache_gib,
        gpu_memory_share=flags.gpu_memory_share,
    )


def test_every_preset_is_held_here() -> None:
    assert {path.stem for path in PRESETS} == set(YIELDED)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_vllm_takes_what_a_preset_yields(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = parse_arguments(engine_of(path, tmp_path, monkeypatch))
    yielded = YIELDED[path.stem]
    assert {name: getattr(args, name) for name in yielded} == yielded


def test_the_long_context_of_a_preset_is_128k(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = CONFIGS / "rtx4090-qwen3-0.6b.toml"
    args = parse_arguments(engine_of(path, tmp_path, monkeypatch))
    assert args.hf_overrides["max_position_embeddings"] == 131072


def test_the_cpu_preset_has_room_for_its_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_room(engine_of(CONFIGS / "cpu-smollm2.toml", tmp_path, monkeypatch))


def test_the_replicas_of_a_preset_come_and_go_with_the_work(tmp_path: Path) -> None:
    preset = CONFIGS / "cpu-smollm2-replicas.toml"
    arguments = ["--experts-dir", str(tmp_path), "--config", str(preset)]
    context = serve.main.make_context("hive-serve", arguments)
    names = ReplicaOptions.__dataclass_fields__
    scale = ReplicaOptions(**{name: context.params[name] for name in names})
    assert require_replicas(context, scale)
    scaling = scaling_of(scale)
    assert scaling == Scaling(1, 4, busy=12, up_s=15, down_s=300, cpus=1)
    # A replica is asked for before one is so full that requests go past their experts.
    assert scaling.busy < context.params["max_num_seqs"]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_name_options_only(path: Path) -> None:
    assert read_options(path, serve.main)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_explain_their_memory(path: Path) -> None:
    text = path.read_text()
    assert all(word in text for word in ("# ", "weights", "KV cache", "slots"))
