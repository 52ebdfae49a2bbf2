"""The field status table against a base model of one layer, and an adapter of two projections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hive_expert.adapters.base_model import BaseModel, fingerprint
from hive_expert.engine.at_hand import AtHand, at_hand, installed_platform, judged_fields
from hive_expert.errors import HiveError
from hive_expert.manifest.fields import FieldStatus
from hive_expert.manifest.parse import manifest_from
from hive_expert.package.pack import build_package, laid_out
from tests.package.samples import (
    RANK,
    TARGETS,
    WIDTH,
    expert_directory,
    lora_tensors,
    manifest_document,
    peft_config,
    safetensors,
    soft_prompt,
    soft_prompt_tensors,
)

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
CONFIG = {"hidden_size": WIDTH, "max_position_embeddings": 8192}
ENTRY = "base_models[0]"
ADAPTER = f"{ENTRY}.adapters[0]"


def base_model(folder: Path, *, width: int = WIDTH, targets: tuple[str, ...] = TARGETS) -> Path:
    folder.mkdir()
    weights = {
        f"model.layers.0.self_attn.{name}.weight": ("F32", (width, width), bytes(4 * width**2))
        for name in targets
    }
    (folder / "model.safetensors").write_bytes(safetensors(weights))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def here(folder: Path, max_rank: int = 16, **config: Any) -> AtHand:
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    return at_hand(BaseModel((NAME,), folder), max_rank)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("hive_expert.engine.at_hand.installed_platform", lambda: "cpu")
    return base_model(tmp_path / "base")


def judged(
    found: AtHand, directory: Path | None = None, entry: dict[str, Any] | None = None, **more: Any
) -> dict[str, FieldStatus]:
    document = manifest_document(**more)
    document["base_models"][0] |= entry or {}
    rows = judged_fields(manifest_from(document), found, directory)
    assert len({row.path for row in rows}) == len(rows)
    return {row.path: row for row in rows}


def refused(rows: dict[str, FieldStatus]) -> dict[str, str]:
    return {path: row.detail for path, row in rows.items() if row.status == "refused"}


def test_an_expert_that_fits_is_refused_nothing(base: Path, tmp_path: Path) -> None:
    rows = judged(
        here(base),
        expert_directory(tmp_path),
        {"sha256": fingerprint(base), "quantization": "bf16", "rope_scaling": "yarn-32k"},
        runtime={"attention_kernel": "sdpa"},
    )
    assert refused(rows) == {}
    assert rows[f"{ENTRY}.quantization"].detail.startswith("vLLM's dtype bfloat16")
    assert "yarn from 8192 to 32768" in rows[f"{ENTRY}.rope_scaling"].detail
    assert "CPU_ATTN" in rows["runtime.attention_kernel"].detail


def test_other_weights_of_that_name_are_refused(base: Path) -> None:
    rows = judged(here(base), entry={"sha256": "a" * 64})
    assert "made for weights aaaaaaaaaaaa…" in refused(rows)[f"{ENTRY}.sha256"]


def test_the_weights_tell_which_entry_is_meant_whatever_its_name(base: Path) -> None:
    entry = {"name": "elsewhere/renamed", "sha256": fingerprint(base)}
    assert refused(judged(here(base), entry=entry)) == {}


def test_an_expert_for_another_base_is_refused(base: Path) -> None:
    assert set(refused(judged(here(base), entry={"name": "Qwen/Qwen3-0.6B"}))) == {"base_models"}


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"type": "yarn", "factor": 4, "original_max_position_embeddings": 32768}, "original_max"),
        ({"type": "yarn", "factor": 2, "max_position_embeddings": 131072}, "max_position"),
        ({"type": "yarn", "factor": 2, "fine_grained": False}, "fine_grained"),
        ({"type": "yarn"}, "type"),
    ],
)
def test_a_rope_that_contradicts_the_base_is_refused(
    base: Path, asked: dict[str, Any], path: str
) -> None:
    (found,) = refused(judged(here(base), entry={"rope_scaling": asked}))
    assert found.startswith(f"{ENTRY}.rope_scaling.{path}")


def test_unquantized_weights_are_not_a_quantized_base(base: Path) -> None:
    found = here(base, quantization_config={"quant_method": "awq"})
    assert (
        "quantized awq"
        in refused(judged(found, entry={"quantization": "bf16"}))[f"{ENTRY}.quantization"]
    )


def test_a_kernel_of_another_platform_is_refused(base: Path) -> None:
    rows = judged(here(base), runtime={"attention_kernel": "flashinfer"})
    assert "none on cpu" in refused(rows)["runtime.attention_kernel"]


def test_a_layer_that_the_base_has_not_is_refused(tmp_path: Path, base: Path) -> None:
    other = base_model(tmp_path / "other", targets=("q_proj",))
    assert "no layer v_proj" in refused(judged(here(other)))[f"{ADAPTER}.target_modules"]


def test_weights_of_another_shape_are_refused(tmp_path: Path, base: Path) -> None:
    other = base_model(tmp_path / "other", width=WIDTH + 1)
    found = refused(judged(here(other), expert_directory(tmp_path)))
    assert "made for out size 4, the base model's is 5" in found[f"{ADAPTER}.path"]


def test_a_packed_base_is_told_to_be_quantized(tmp_path: Path, base: Path) -> None:
    weights = {
        f"model.layers.0.self_attn.{name}.qweight": ("I32", (4, 1), bytes(16)) for name in TARGETS
    }
    (base / "model.safetensors").write_bytes(safetensors(weights))
    found = refused(judged(here(base), expert_directory(tmp_path)))
    assert "is quantized" in found[f"{ADAPTER}.target_modules"]
    assert "unquantized base model" in found[f"{ADAPTER}.path"]


@pytest.mark.parametrize(
    "change",
    [{"modules_to_save": ["lm_head"]}, {"lora_alpha": 8}, {"something_new_in_peft": 1}],
)
def test_what_packaging_refuses_is_refused(
    tmp_path: Path, base: Path, change: dict[str, Any]
) -> None:
    directory = expert_directory(tmp_path)
    (directory / "weights" / "adapter_config.json").write_text(json.dumps(peft_config(**change)))
    assert next(iter(change)) in refused(judged(here(base), directory))[f"{ADAPTER}.path"]
    with pytest.raises(HiveError, match=next(iter(change))):
        build_package(directory, model=None, output=tmp_path, signer=None)


@pytest.mark.parametrize(
    "change",
    [
        {"layers_to_transform": [0]},
        {"exclude_modules": ["lm_head"]},
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
        {"rank_pattern": {"q_proj": RANK}, "alpha_pattern": {"v_proj": 0.5}},
    ],
)
def test_what_packaging_takes_is_taken(tmp_path: Path, base: Path, change: dict[str, Any]) -> None:
    directory = expert_directory(tmp_path)
    (directory / "weights" / "adapter_config.json").write_text(json.dumps(peft_config(**change)))
    assert refused(judged(here(base), directory)) == {}
    built = build_package(directory, model=None, output=tmp_path, signer=None)
    with laid_out(built.path) as (_, folder):
        assert folder is not None
        packed = json.loads((folder / "adapter" / "adapter_config.json").read_bytes())
    assert packed.get("alpha_pattern") == change.get("alpha_pattern")
    assert not {"layers_to_transform", "exclude_modules", "eva_config"} & packed.keys()


def test_a_layer_s_rank_above_the_slots_is_refused(tmp_path: Path, base: Path) -> None:
    directory = expert_directory(tmp_path)
    tensors = lora_tensors(("q_proj",)) | lora_tensors(("v_proj",), rank=9)
    (directory / "weights" / "adapter_model.safetensors").write_bytes(safetensors(tensors))
    config = json.dumps(peft_config(rank_pattern={"v_proj": 9}))
    (directory / "weights" / "adapter_config.json").write_text(config)
    found = refused(judged(here(base, max_rank=8), directory))
    assert "hive-serve --max-rank 9" in found[f"{ADAPTER}.path"]
    assert refused(judged(here(base, max_rank=16), directory)) == {}


def test_weights_that_are_not_there_yet_are_not_judged(tmp_path: Path, base: Path) -> None:
    directory = expert_directory(tmp_path)
    (directory / "weights" / "adapter_model.safetensors").unlink()
    assert refused(judged(here(base), directory)) == {}


def test_a_rank_above_the_slots_is_refused(base: Path) -> None:
    adapter = {**manifest_document()["base_models"][0]["adapters"][0], "r": 17}
    rows = judged(here(base, max_rank=16), entry={"adapters": [adapter]})
    assert "--max-rank 17" in refused(rows)[f"{ADAPTER}.r"]
    assert refused(judged(here(base, max_rank=32), entry={"adapters": [adapter]})) == {}


def test_a_soft_prompt_of_another_width_is_refused(tmp_path: Path, base: Path) -> None:
    directory = expert_directory(tmp_path)
    (directory / "prompts").mkdir()
    file = directory / "prompts" / "tone.safetensors"
    file.write_bytes(safetensors(soft_prompt_tensors()))
    prompts = [soft_prompt()]
    assert refused(judged(here(base), directory, soft_prompts=prompts)) == {}
    file.write_bytes(safetensors(soft_prompt_tensors(width=WIDTH + 2)))
    found = refused(judged(here(base), directory, soft_prompts=prompts))
    assert "embeddings of 6" in found["soft_prompts[0].path"]


def test_the_engine_that_is_installed_is_known_by_its_metadata() -> None:
    assert installed_platform() in ("cpu", "cuda")
