from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from trl import SFTConfig

from hive_expert.engine.precision import computes_16_bits
from hive_expert.errors import ManifestError
from hive_expert.manifest.parse import manifest_from
from hive_expert.manifest.slug import model_slug
from hive_expert.manifest.training_model import TrainingConfig
from hive_expert.package.gather import soft_prompt_file
from hive_expert.training import config, rules
from hive_expert.training.config import SoftPromptSettings, TrainingPlan, plan_training
from hive_expert.training.rules import RULES, Device
from tests.training.conftest import SEVEN, manifest_document

NOT_SETTINGS = {
    # honoured in the plan itself, or refused unless it is the one value that is supported
    "method",
    "adapter_type",
    "rank",
    "alpha",
    "target_modules",
    "feedforward_modules",
    "max_seq_length",
    "packing",
    "use_sdpa",
    "use_unsloth",
}


def plan(device: Device = "cpu", **config: Any) -> TrainingPlan:
    return plan_training(manifest_from(manifest_document(**config)), device=device)


def refusals(device: Device = "cpu", **config: Any) -> dict[str, str]:
    with pytest.raises(ManifestError) as caught:
        plan(device, **config)
    return {p.where.removeprefix("training.config."): p.what for p in caught.value.problems}


def test_every_field_of_training_config_has_a_rule() -> None:
    assert set(RULES) == set(TrainingConfig.model_fields)


def test_all_settings_are_arguments_of_sft_config() -> None:
    everything = plan(
        "cuda",
        warmup_steps=5,
        save_strategy="steps",
        evaluation_strategy="steps",
        dataloader_num_workers=1,
        dataloader_prefetch_factor=2,
        dataloader_persistent_workers=True,
        tf32=True,
    )
    assert set(everything.sft_arguments) <= set(inspect.signature(SFTConfig).parameters)


# Value that differs from the default, and the setting in which it must arrive.
MAPPED: dict[str, tuple[Any, str]] = {
    "epochs": (3.5, "num_train_epochs"),
    "learning_rate": (0.5, "learning_rate"),
    "batch_size": (5, "per_device_train_batch_size"),
    "gradient_accumulation_steps": (7, "gradient_accumulation_steps"),
    "warmup_steps": (11, "warmup_steps"),
    "warmup_ratio": (0.25, "warmup_steps"),
    "lr_scheduler": ("linear", "lr_scheduler_type"),
    "save_strategy": ("no", "save_strategy"),
    "save_steps": (13, "save_steps"),
    "evaluation_strategy": ("no", "eval_strategy"),
    "eval_steps": (17, "eval_steps"),
    "load_best_model_at_end": (True, "load_best_model_at_end"),
    "metric_for_best_model": ("eval_loss", "metric_for_best_model"),
    "save_total_limit": (9, "save_total_limit"),
    "logging_steps": (3, "logging_steps"),
    "bf16": (False, "bf16"),
    "fp16": (True, "fp16"),
    "tf32": (True, "tf32"),
    "gradient_checkpointing": (True, "gradient_checkpointing"),
    "dataloader_num_workers": (2, "dataloader_num_workers"),
    "dataloader_pin_memory": (False, "dataloader_pin_memory"),
    "dataloader_prefetch_factor": (4, "dataloader_prefetch_factor"),
    "dataloader_persistent_workers": (True, "dataloader_persistent_workers"),
    "optim": ("adafactor", "optim"),
    "seed": (1234, "seed"),
}
COMPANIONS: dict[str, dict[str, Any]] = {
    "save_steps": {"save_strategy": "steps"},
    "eval_steps": {"evaluation_strategy": "steps"},
    "load_best_model_at_end": {"save_strategy": "epoch", "evaluation_strategy": "epoch"},
    "dataloader_prefetch_factor": {"dataloader_num_workers": 1},
    "dataloader_persistent_workers": {"dataloader_num_workers": 1},
}


def test_every_field_is_mapped_or_honoured_elsewhere() -> None:
    assert set(MAPPED) | NOT_SETTINGS == set(TrainingConfig.model_fields)


@pytest.mark.parametrize("name", MAPPED)
def test_value_arrives(name: str) -> None:
    value, setting = MAPPED[name]
    arguments = plan("cuda", **{name: value}, **COMPANIONS.get(name, {})).sft_arguments
    assert arguments[setting] == value


def test_plan_of_an_empty_config_states_its_defaults() -> None:
    made = plan()
    assert made.packing
    assert made.precision == ("bf16" if computes_16_bits() else "fp32")
    assert made.attention == "sdpa"
    assert made.adapter is not None
    assert made.adapter.target_modules == tuple(sorted(SEVEN))
    assert made.sft_arguments["eval_strategy"] == "epoch"


@pytest.mark.parametrize(
    ("computes", "stated", "precision", "notes"),
    [
        (True, {}, "bf16", 0),
        (False, {}, "fp32", 0),
        (False, {"bf16": False}, "fp32", 0),
        (False, {"bf16": True}, "bf16", 1),
    ],
)
def test_bf16_is_for_processors_that_compute_in_it_and_for_who_asks(
    computes: bool,
    stated: dict[str, bool],
    precision: str,
    notes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (config, rules):
        monkeypatch.setattr(module, "computes_16_bits", lambda: computes)
    made = plan(**stated)
    assert (made.precision, len(made.notes)) == (precision, notes)


def test_equal_manifests_give_equal_plans() -> None:
    assert plan(epochs=2) == plan(epochs=2)
    assert plan(epochs=2) != plan(epochs=3)


def test_fields_honoured_in_the_plan() -> None:
    made = plan(packing=False, use_sdpa=False, max_seq_length=77)
    assert (made.packing, made.attention, made.max_seq_length) == (False, "eager", 77)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("use_unsloth", True),
        ("fp16", True),
        ("lr_scheduler", "warmup_stable_decay"),
        ("metric_for_best_model", "bleu"),
        ("optim", "paged_adamw_8bit"),
        ("optim", "made_up"),
        ("eval_steps", 5),
        ("save_steps", 5),
        ("warmup_ratio", 1.0),
        ("dataloader_prefetch_factor", 2),
    ],
)
def test_refused_by_name(field: str, value: Any) -> None:
    assert field in refusals(**{field: value})


def test_best_model_needs_matching_strategies() -> None:
    assert "load_best_model_at_end" in refusals(
        load_best_model_at_end=True, evaluation_strategy="epoch", save_strategy="steps"
    )


def test_all_refusals_are_reported_at_once() -> None:
    assert set(refusals(fp16=True, use_unsloth=True, optim="made_up")) == {
        "fp16",
        "use_unsloth",
        "optim",
    }


def test_fields_without_effect_on_a_cpu_are_noted() -> None:
    assert plan(tf32=True).notes == ("tf32 has no effect on a CPU",)


@pytest.mark.parametrize(
    ("kind", "changes", "config"),
    [
        ("dora", {"type": "dora", "scaling": "dora", "dropout": 0.05}, {"adapter_type": "dora"}),
        (
            "ia3",
            {"type": "ia3", "r": None, "alpha": None, "feedforward_modules": ["down_proj"]},
            {"adapter_type": "ia3", "feedforward_modules": ["down_proj"]},
        ),
    ],
)
def test_other_kinds_of_adapter_are_planned(
    kind: str, changes: dict[str, Any], config: dict[str, Any]
) -> None:
    document = manifest_document(**config)
    adapter = document["base_models"][0]["adapters"][0] | changes
    document["base_models"][0]["adapters"] = [{k: v for k, v in adapter.items() if v is not None}]
    made = plan_training(manifest_from(document), device="cpu").adapter
    assert made is not None
    assert made.type == kind
    assert bool(made.r) is (kind == "dora")
    assert made.dropout == changes.get("dropout", 0)
    assert made.feedforward_modules == tuple(changes.get("feedforward_modules", ()))


def test_rslora_is_honoured() -> None:
    document = manifest_document()
    document["base_models"][0]["adapters"][0]["scaling"] = "rslora"
    made = plan_training(manifest_from(document), device="cpu").adapter
    assert made is not None
    assert made.rank_stabilized


PROMPT = {"name": "tone", "path": "tone/", "tokens": 4}


def test_the_applied_soft_prompt_is_trained_with_the_adapter() -> None:
    document = manifest_document()
    other = PROMPT | {"name": "other", "default": True, "init_method": "text", "init_text": "Be"}
    document["soft_prompts"] = [PROMPT, other]
    made = plan_training(manifest_from(document), device="cpu")
    assert made.adapter is not None
    assert made.soft_prompt == SoftPromptSettings("tone/", 4, "text", "Be")
    assert made.output_path == "weights/"


@pytest.mark.parametrize(("path", "output"), [("tone/", "tone"), ("a/tone.safetensors", "a")])
def test_a_soft_prompt_alone_is_trained(path: str, output: str) -> None:
    document = manifest_document()
    document["base_models"][0]["adapters"] = []
    document["soft_prompts"] = [PROMPT | {"path": path}]
    made = plan_training(manifest_from(document), device="cpu")
    assert made.adapter is None
    assert made.soft_prompt is not None
    assert made.soft_prompt.init_method == "vocab_sample"
    assert made.output_path == output


def test_one_soft_prompt_file_does_not_fit_two_bases() -> None:
    document = manifest_document()
    document["base_models"].append(document["base_models"][0] | {"name": "acme/other"})
    document["soft_prompts"] = [PROMPT | {"path": "tone.safetensors"}]
    with pytest.raises(ManifestError, match="several base models"):
        plan_training(manifest_from(document), "acme/other", device="cpu")


@pytest.mark.parametrize("adapted", [True, False])
def test_each_base_model_has_a_soft_prompt_of_its_own_where_packages_look(
    adapted: bool, tmp_path: Path
) -> None:
    document = manifest_document()
    entry = document["base_models"][0] | ({} if adapted else {"adapters": []})
    document["base_models"] = [entry, entry | {"name": "acme/Other-0.6B-Instruct"}]
    document["soft_prompts"] = [PROMPT]
    manifest = manifest_from(document)
    plans = [plan_training(manifest, one.name, device="cpu") for one in manifest.base_models]
    prompts = [made.soft_prompt for made in plans if made.soft_prompt]
    assert [one.path for one in prompts] == ["tone/tiny.safetensors", "tone/other-0.6b.safetensors"]
    for made, one in zip(plans, prompts, strict=True):
        (tmp_path / "tone").mkdir(exist_ok=True)
        (tmp_path / one.path).touch()
        place = soft_prompt_file(tmp_path, "tone/", model_slug(made.base))
        assert place == (tmp_path / one.path).resolve()
    if not adapted:
        assert [made.output_path for made in plans] == ["tone/tiny", "tone/other-0.6b"]


def test_the_template_is_part_of_the_plan() -> None:
    document = manifest_document()
    document["base_models"][0]["prompt_template"] = "alpaca"
    assert plan_training(manifest_from(document), device="cpu").prompt_template == "alpaca"


@pytest.mark.parametrize(
    ("field", "value"),
    [("streaming", True), ("augmentation", True), ("type", "hub"), ("path", None)],
)
def test_dataset_fields_are_refused_by_name(field: str, value: Any) -> None:
    document = manifest_document()
    dataset = document["training"]["dataset"] | {field: value}
    document["training"]["dataset"] = {k: v for k, v in dataset.items() if v is not None}
    with pytest.raises(ManifestError) as caught:
        plan_training(manifest_from(document), device="cpu")
    assert [p.where for p in caught.value.problems] == [f"training.dataset.{field}"]


def test_several_bases_must_be_chosen_from() -> None:
    document = manifest_document()
    document["base_models"].append(document["base_models"][0] | {"name": "acme/other"})
    manifest = manifest_from(document)
    assert plan_training(manifest, "acme/other", device="cpu").base == "acme/other"
    with pytest.raises(ManifestError, match="choose: acme/tiny, acme/other"):
        plan_training(manifest, device="cpu")
    with pytest.raises(ManifestError, match="not among them"):
        plan_training(manifest, "acme/third", device="cpu")
