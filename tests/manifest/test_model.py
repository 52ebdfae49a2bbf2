"""The laws of the models, one violation at a time."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hive_expert.errors import ManifestError
from hive_expert.manifest.adapter_model import UNSTABLE_TARGETS, Adapter
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.parse import manifest_from
from tests.manifest.documents import changed, full, smallest

ADAPTER = "base_models.0.adapters.0"
DECODING = "training.decoding"
CONFIG = "training.config"


def refusal(document: dict[str, Any]) -> str:
    with pytest.raises(ManifestError) as caught:
        manifest_from(document)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "sql"),
        ("name", "expert-"),
        ("name", "expert-SQL"),
        ("name", "expert-sql-"),
        ("name", "expert-a--b"),
        ("name", "expert-sql\n"),
        ("name", "expert-" + "a" * 58),
        ("version", "1.0"),
        ("version", "v1.0.0"),
        ("version", "1.0.0\n"),
        ("version", "01.0.0"),
        ("version", "1.0.0-01"),
        ("version", "1.0.\u0660"),
        ("schema_version", "3.0"),
        ("schema_version", 2.0),
        ("author", ""),
        ("author", "two\nlines"),
        ("base_models", []),
        ("base_models", {}),
        ("base_models.0.sha256", "A" * 64),
        ("base_models.0.sha256", "a" * 63),
        ("base_models.0.quantization", "int2"),
        ("base_models.0.rope_scaling", "yarn"),
        ("base_models.0.rope_scaling", "yarn-0k"),
        ("base_models.0.rope_scaling", 4),
        ("base_models.0.rope_scaling", {"type": "yarn", "factor": 0.5}),
        ("base_models.0.prompt_template", "vicuna"),
        (f"{ADAPTER}.r", 0),
        (f"{ADAPTER}.r", 513),
        (f"{ADAPTER}.r", "8"),
        (f"{ADAPTER}.r", 8.0),
        (f"{ADAPTER}.r", True),
        (f"{ADAPTER}.alpha", 0),
        (f"{ADAPTER}.alpha", "16"),
        (f"{ADAPTER}.dropout", 1),
        (f"{ADAPTER}.dropout", -0.1),
        (f"{ADAPTER}.size_bytes", -1),
        (f"{ADAPTER}.path", "/weights"),
        (f"{ADAPTER}.path", "../weights"),
        (f"{ADAPTER}.path", "weights/../../x"),
        (f"{ADAPTER}.path", "./weights"),
        (f"{ADAPTER}.path", "weights//x"),
        (f"{ADAPTER}.path", ".hidden"),
        (f"{ADAPTER}.path", "wei ghts"),
        (f"{ADAPTER}.path", ""),
        (f"{ADAPTER}.target_modules", []),
        (f"{ADAPTER}.target_modules", "q_proj"),
        (f"{ADAPTER}.target_modules", ["q_porj"]),
        (f"{ADAPTER}.target_modules", ["q_proj", "q_proj"]),
        ("constraints.max_chain", 0),
        ("constraints.max_chain", 11),
        ("constraints.load_order", 11),
        ("constraints.requires", ["sql"]),
        ("capabilities", ["sql"]),
        ("capabilities", ["skill:sql"]),
        ("capabilities", ["task:"]),
        ("limitations", [{"description": "no pattern"}]),
        ("limitations", [{"pattern": "(", "regex": True}]),
        ("limitations", [{"pattern": "x"}] * 101),
        ("routing.priority", 1.1),
        ("training.dataset.type", "many"),
        ("training.dataset.format", "xml"),
        ("training.dataset.augmentation", "yes"),
        (f"{CONFIG}.method", "dpo"),
        (f"{CONFIG}.epochs", 0),
        (f"{CONFIG}.learning_rate", 0),
        (f"{CONFIG}.batch_size", 0),
        (f"{CONFIG}.warmup_ratio", 1.5),
        (f"{CONFIG}.lr_scheduler", "square"),
        (f"{CONFIG}.optim", "Adam W"),
        (f"{CONFIG}.seed", 2**32),
        (f"{CONFIG}.bf16", 1),
        (f"{DECODING}.temperature", 2.1),
        (f"{DECODING}.temperature", -0.1),
        (f"{DECODING}.top_p", 0),
        (f"{DECODING}.top_p", 1.1),
        (f"{DECODING}.top_k", -2),
        (f"{DECODING}.top_k", 1.5),
        (f"{DECODING}.min_p", 1.1),
        (f"{DECODING}.repetition_penalty", 0),
        (f"{DECODING}.max_tokens", 0),
        (f"{DECODING}.stop_sequences", [""]),
        (f"{DECODING}.stop_sequences", ";"),
        (f"{DECODING}.grammar_file", "/etc/grammar"),
        (f"{DECODING}.grammar_type", "lark"),
        (f"{DECODING}.json_schema", True),
        (f"{DECODING}.validation", "yaml"),
        (f"{DECODING}.validation", {"type": "yaml"}),
        ("quality_metrics.win_rate_vs_base", 2),
        ("quality_metrics.test_date", "31.1.2026"),
        ("perf.vram_mb_overhead", -1),
        ("perf.supported_batch_sizes", [0]),
        ("evaluation.thresholds", {"match": "high"}),
        ("soft_prompts", [{"name": "s", "path": "s.safetensors", "tokens": 513}]),
        ("soft_prompts", [{"name": "s", "path": "s.safetensors", "tokens": 0}]),
    ],
)
def test_a_value_out_of_its_range_or_type_is_refused(path: str, value: object) -> None:
    error = refusal(changed(smallest(), path, value))
    assert path.split(".")[0] in error


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "expert-" + "a" * 57),
        ("version", "1.0.0-alpha.1+5"),
        ("base_models.0.sha256", ""),
        ("base_models.0.rope_scaling", "yarn-128k"),
        ("limitations", [{"pattern": "("}]),
        ("limitations", [{"pattern": "a|b", "regex": True}]),
        (f"{ADAPTER}.alpha", 0.5),
        (f"{ADAPTER}.path", "a/b/adapter.safetensors"),
        (f"{DECODING}.temperature", 0),
        (f"{DECODING}.temperature", 2),
        (f"{DECODING}.top_p", 1),
        (f"{DECODING}.top_k", -1),
        (f"{DECODING}.validation", "json"),
        (f"{CONFIG}.epochs", 0.5),
        ("training.dataset.augmentation", True),
    ],
)
def test_a_value_at_the_edge_of_its_range_is_accepted(path: str, value: object) -> None:
    manifest_from(changed(smallest(), path, value))


@pytest.mark.parametrize("kind", ["lokr", "adalora"])
def test_known_kinds_that_are_not_supported_are_refused_by_name(kind: str) -> None:
    for path in (f"{ADAPTER}.type", f"{CONFIG}.adapter_type"):
        assert f"{kind} adapters are not supported" in refusal(changed(smallest(), path, kind))


@pytest.mark.parametrize("module", sorted(UNSTABLE_TARGETS))
def test_unstable_targets_are_refused_by_name(module: str) -> None:
    for path in (f"{ADAPTER}.target_modules", f"{CONFIG}.target_modules"):
        document = changed(smallest(), path, ["q_proj", module])
        assert f"{module} is not safe to adapt" in refusal(document)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"r": None}, "r: a lora adapter must state it"),
        ({"alpha": None}, "alpha: a lora adapter must state it"),
        ({"type": "dora", "r": None}, "r: a dora adapter must state it"),
        ({"type": "ia3"}, "r: an ia3 adapter has none"),
        ({"feedforward_modules": ["q_proj"]}, "only an ia3 adapter has them"),
        (
            {"type": "ia3", "r": None, "alpha": None, "feedforward_modules": ["up_proj"]},
            "up_proj is not among target_modules",
        ),
        ({"scaling": "dora"}, "dora does not go with lora"),
        ({"scaling": "learned"}, "learned does not go with lora"),
        ({"type": "dora", "scaling": "learned"}, "learned does not go with dora"),
        ({"rank": 8}, "rank: unknown key"),
    ],
)
def test_what_does_not_go_with_the_kind_of_adapter_is_refused(
    changes: dict[str, Any], reason: str
) -> None:
    document = smallest()
    adapter = document["base_models"][0]["adapters"][0]
    adapter.update(changes)
    document["base_models"][0]["adapters"][0] = {k: v for k, v in adapter.items() if v is not None}
    assert reason in refusal(document)


def test_rank_is_another_name_of_r() -> None:
    document = smallest()
    adapter = document["base_models"][0]["adapters"][0]
    adapter["rank"] = adapter.pop("r")
    assert manifest_from(document).base_models[0].adapters[0].r == 8


def _second_base(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    (entry,) = document["base_models"]
    document["base_models"] = [entry, {**entry, "name": "Qwen/Qwen3-0.6B", **changes}]
    return document


SOFT = {"name": "s", "path": "s.safetensors", "tokens": 4}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (_second_base(smallest(), name=smallest()["base_models"][0]["name"]), "listed 2 times"),
        (_second_base(smallest(), adapters=[]), "Qwen/Qwen3-0.6B has no adapters"),
        (changed(smallest(), "soft_prompts", [SOFT, SOFT]), "soft prompt s is listed 2 times"),
        (
            changed(
                smallest(),
                "soft_prompts",
                [{**SOFT, "default": True}, {**SOFT, "name": "t", "default": True}],
            ),
            "more than one is the default",
        ),
        (
            changed(smallest(), "soft_prompts", [{**SOFT, "init_method": "text"}]),
            "init_method text needs it",
        ),
        (
            changed(smallest(), "soft_prompts", [{**SOFT, "init_text": "x"}]),
            "goes with init_method text only",
        ),
        (changed(smallest(), "constraints.requires", ["expert-sample"]), "which is this expert"),
        (
            changed(smallest(), "constraints.incompatible_with", ["expert-sample"]),
            "which is this expert",
        ),
        (
            changed(
                changed(smallest(), "constraints.requires", ["expert-a"]),
                "constraints.incompatible_with",
                ["expert-a"],
            ),
            "also in incompatible_with",
        ),
    ],
)
def test_parts_of_a_manifest_that_contradict_each_other_are_refused(
    document: dict[str, Any], reason: str
) -> None:
    assert reason in refusal(document)


@pytest.mark.parametrize(
    ("defaults", "applied"), [((), None), ((None, None), "s0"), ((None, True, None), "s1")]
)
def test_the_default_soft_prompt_or_else_the_first_is_applied(
    defaults: tuple[bool | None, ...], applied: str | None
) -> None:
    prompts = [
        {**SOFT, "name": f"s{i}", **({} if default is None else {"default": default})}
        for i, default in enumerate(defaults)
    ]
    found = manifest_from(changed(smallest(), "soft_prompts", prompts)).applied_soft_prompt
    assert (found.name if found else None) == applied


def test_a_soft_prompt_alone_is_an_expert() -> None:
    document = changed(smallest(), "base_models.0.adapters", [])
    assert manifest_from(changed(document, "soft_prompts", [SOFT])).base_models[0].adapters == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("rank", 16), ("alpha", 8), ("target_modules", ["v_proj"]), ("adapter_type", "dora")],
)
def test_training_may_not_contradict_the_adapter(field: str, value: object) -> None:
    document = changed(smallest(), f"{CONFIG}.{field}", value)
    assert f"config.{field} differs" in refusal(document)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"warmup_steps": 5, "warmup_ratio": 0.1}, "warmup_ratio"),
        ({"bf16": True, "fp16": True}, "fp16"),
        ({"adapter_type": "lora", "feedforward_modules": ["q_proj"]}, "feedforward_modules"),
        ({"load_best_model_at_end": True}, "load_best_model_at_end"),
        (
            {"load_best_model_at_end": True, "evaluation_strategy": "no"},
            "load_best_model_at_end",
        ),
        (
            {"dataloader_num_workers": 0, "dataloader_prefetch_factor": 2},
            "dataloader_prefetch_factor",
        ),
        (
            {"dataloader_num_workers": 0, "dataloader_persistent_workers": True},
            "dataloader_persistent_workers",
        ),
    ],
)
def test_training_settings_that_exclude_each_other_are_refused(
    config: dict[str, Any], field: str
) -> None:
    assert f"training.config.{field}" in refusal(changed(smallest(), CONFIG, config))


@pytest.mark.parametrize(
    ("decoding", "reason"),
    [
        ({"use_grammar": True}, "there is no grammar"),
        ({"grammar_type": "gbnf"}, "gbnf needs grammar_file"),
        ({"grammar_type": "gbnf_template", "json_schema": {}}, "gbnf_template needs grammar_file"),
        ({"grammar_type": "json_schema", "grammar_file": "g"}, "needs the field json_schema"),
        ({"grammar_file": "g", "json_schema": {}}, "both given"),
    ],
)
def test_a_grammar_that_is_asked_for_must_be_there(decoding: dict[str, Any], reason: str) -> None:
    assert reason in refusal(changed(smallest(), DECODING, decoding))


@pytest.mark.parametrize(
    "decoding",
    [
        {"use_grammar": True, "grammar_file": "g"},
        {"use_grammar": True, "json_schema": {"type": "object"}},
        {"use_grammar": True, "json_schema": "schema.json"},
        {"use_grammar": True, "grammar_type": "prompt_json_schema"},
        {"use_grammar": False},
        {"grammar_file": "g"},
    ],
)
def test_a_grammar_that_is_there_is_accepted(decoding: dict[str, Any]) -> None:
    manifest_from(changed(smallest(), DECODING, decoding))


def test_models_are_frozen() -> None:
    manifest = manifest_from(full())
    with pytest.raises(ValidationError):
        manifest.name = "expert-other"  # type: ignore[misc]  # what is being tested


def test_the_laws_hold_for_models_made_in_python() -> None:
    with pytest.raises(ValidationError, match="must state it"):
        Adapter(type="lora", target_modules=("q_proj",), path="w/")


def test_other_runtime_keys_are_read() -> None:
    assert manifest_from(full()).runtime is not None
    assert Manifest.model_validate(full()).runtime.model_extra == {  # type: ignore[union-attr]
        "hybrid_reasoning": {"on": True}
    }
