"""Every field has a status, and what cannot be honoured is refused."""

from __future__ import annotations

from typing import Any

import pytest

from hive_expert.errors import ManifestError
from hive_expert.manifest.fields import FieldStatus, field_status, require_honoured
from hive_expert.manifest.honoured import HONOURED
from hive_expert.manifest.parse import manifest_from
from hive_expert.manifest.reference import leaf_patterns
from tests.manifest.documents import changed, full, smallest

SMOLLM = "HuggingFaceTB/SmolLM2-135M-Instruct"


def rows(document: dict[str, Any], base: str | None = None) -> dict[str, FieldStatus]:
    return {row.path: row for row in field_status(manifest_from(document), base=base)}


def refused(document: dict[str, Any], base: str | None = None) -> set[str]:
    return {path for path, row in rows(document, base).items() if row.status == "refused"}


def test_the_table_has_every_field_of_the_models_in_their_order_and_no_other() -> None:
    assert list(HONOURED) == list(leaf_patterns())


def test_every_field_that_is_present_gets_a_row() -> None:
    def leaves(value: Any, path: str) -> list[str]:
        if isinstance(value, dict) and path.split(".")[-1] not in (
            "json_schema",
            "augmentation",
            "thresholds",
            "files",
            "hybrid_reasoning",
        ):
            return [p for k, v in value.items() for p in leaves(v, f"{path}.{k}" if path else k)]
        if isinstance(value, list) and isinstance(value[0], dict) and "checkpoints" not in path:
            return [p for i, v in enumerate(value) for p in leaves(v, f"{path}[{i}]")]
        return [path]

    assert sorted(rows(full())) == sorted(leaves(full(), ""))


def test_absent_fields_get_no_row() -> None:
    assert set(rows(smallest())) == {
        "name",
        "version",
        "schema_version",
        "base_models[0].name",
        *(
            f"base_models[0].adapters[0].{field}"
            for field in ("type", "r", "alpha", "target_modules", "path")
        ),
    }


def test_every_row_says_how_or_why() -> None:
    assert all(row.detail for row in rows(full()).values())


def test_a_plain_lora_expert_is_honoured_in_full() -> None:
    assert refused(smallest()) == set()
    require_honoured(manifest_from(smallest()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("base_models.0.quantization", "int4"),
        ("base_models.0.quantization", "int8"),
        ("base_models.0.rope_scaling", "dynamic-128k"),
        ("base_models.0.rope_scaling", {"type": "dynamic", "factor": 4}),
        (
            "base_models.0.adapters.0",
            {
                "type": "ia3",
                "target_modules": ["up_proj"],
                "feedforward_modules": ["up_proj"],
                "path": "weights/",
            },
        ),
        ("limitations", [{"pattern": "(a+)+b", "regex": True}]),
        ("training.dataset.type", "hub"),
        ("training.dataset.streaming", True),
        ("training.dataset.augmentation", True),
        ("training.dataset.augmentation", {"paraphrase": 2}),
        ("training.config.use_unsloth", True),
        ("training.config.lr_scheduler", "warmup_stable_decay"),
        ("training.config.metric_for_best_model", "rouge"),
        ("runtime.attention_kernel", "a kernel of my own"),
        ("runtime.something_else", 1),
    ],
)
def test_what_this_version_cannot_honour_is_refused(path: str, value: object) -> None:
    document = changed(smallest(), path, value)
    assert refused(document)
    if path.startswith(("training.dataset", "training.config")):
        # A finished expert's training is history: packing and serving only record it.
        require_honoured(manifest_from(document))
        return
    with pytest.raises(ManifestError) as caught:
        require_honoured(manifest_from(document))
    assert all(problem.remedy for problem in caught.value.problems)


def test_what_only_training_refuses_is_told_as_such() -> None:
    document = changed(smallest(), "training.config.use_unsloth", True)
    row = rows(document)["training.config.use_unsloth"]
    assert (row.status, row.scope) == ("refused", "train")
    assert row.detail.startswith("by hive-train: ")
    assert rows(changed(smallest(), "runtime.own", 1))["runtime.own"].scope == "serve"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("base_models.0.quantization", "bf16"),
        ("base_models.0.quantization", "none"),
        ("base_models.0.rope_scaling", "yarn-128k"),
        ("base_models.0.rope_scaling", {"type": "ntk-by-parts", "factor": 4}),
        ("runtime.attention_kernel", "sdpa"),
        ("runtime.requires_kv_cache_persistence", True),
        ("base_models.0.prompt_template", "chatml"),
        ("base_models.0.adapters.0.scaling", "rslora"),
        ("limitations", [{"pattern": "drop|alter", "regex": True}, {"pattern": "(a+)+b"}]),
        ("training.dataset.streaming", False),
        ("training.dataset.augmentation", False),
        ("training.config.use_unsloth", False),
        ("training.decoding", {"use_grammar": True, "json_schema": {}}),
        ("training.decoding.validation", "cypher"),
        ("training.decoding.validation", {"type": "typescript"}),
        ("runtime.requires_kv_cache_persistence", False),
    ],
)
def test_what_it_can_is_not(path: str, value: object) -> None:
    assert refused(changed(smallest(), path, value)) == set()


def test_a_second_adapter_for_a_base_model_is_refused() -> None:
    document = smallest()
    document["base_models"][0]["adapters"] *= 2
    assert refused(document) == {"base_models[0].adapters[1].type"}


def test_soft_prompts_beside_the_applied_one_are_only_recorded() -> None:
    document = smallest()
    document["soft_prompts"] = [
        {"name": "short", "path": "s.safetensors", "tokens": 4},
        {"name": "formal", "path": "f.safetensors", "tokens": 4, "default": True},
    ]
    table = rows(document)
    assert table["soft_prompts[0].path"].status == "recorded"
    assert "requests get formal" in table["soft_prompts[0].path"].detail
    assert table["soft_prompts[1].path"].status == "enforced"
    assert refused(document) == set()


def test_an_unpinned_base_is_pointed_out() -> None:
    row = rows(changed(smallest(), "base_models.0.sha256", ""))["base_models[0].sha256"]
    assert row.status == "recorded"
    assert "not pinned" in row.detail


def test_a_grammar_that_is_not_in_use_is_only_recorded() -> None:
    document = changed(smallest(), "training.decoding", {"grammar_file": "g"})
    assert rows(document)["training.decoding.grammar_file"].status == "recorded"
    document = changed(document, "training.decoding.use_grammar", True)
    assert rows(document)["training.decoding.grammar_file"].status == "passed"


DECODING = "training.decoding"
TEMPLATE = {
    "grammar_file": "g",
    "grammar_type": "gbnf_template",
    "grammar_slots": [{"rule": "root", "extract": "sql_tables", "max_items": 3}],
}


@pytest.mark.parametrize("off", [{}, {"use_grammar": False}])
def test_nothing_about_a_grammar_is_enforced_while_it_is_off(off: dict[str, Any]) -> None:
    table = rows(changed(smallest(), DECODING, TEMPLATE | off))
    about = {path: row.status for path, row in table.items() if path.startswith(DECODING)}
    assert len(about) == 5 + len(off)
    assert set(about.values()) == {"recorded"}


def test_a_template_that_is_on_is_enforced() -> None:
    table = rows(changed(smallest(), DECODING, TEMPLATE | {"use_grammar": True}))
    about = {row.status for path, row in table.items() if path.startswith(DECODING)}
    assert about == {"enforced", "passed"}


@pytest.mark.parametrize(
    ("kind", "unread"),
    [("gbnf", "json_schema"), ("gbnf_template", "json_schema"), ("json_schema", "grammar_file")],
)
def test_what_the_grammar_s_type_passes_over_is_only_recorded(kind: str, unread: str) -> None:
    slots = {"grammar_slots": TEMPLATE["grammar_slots"]} if kind == "gbnf_template" else {}
    decoding = {
        "use_grammar": True, "grammar_type": kind, "grammar_file": "g", "json_schema": {}, **slots,
    }  # fmt: skip
    table = rows(changed(smallest(), DECODING, decoding))
    row = table[f"{DECODING}.{unread}"]
    assert (row.status, row.detail) == ("recorded", f"not applied: grammar_type is {kind}")
    read = {"json_schema": "grammar_file", "grammar_file": "json_schema"}[unread]
    assert table[f"{DECODING}.{read}"].status == "passed"


def test_comments_are_listed() -> None:
    assert rows(full())["_note"].detail == "a comment"


def test_entries_of_other_base_models_are_only_recorded() -> None:
    document = full()
    table = rows(document, "smollm2-135m")
    others = [row for path, row in table.items() if path.startswith("base_models[1]")]
    assert {row.status for row in others} == {"recorded"}
    assert table["base_models[0].name"].status == "enforced"


def test_a_manifest_for_other_base_models_is_refused() -> None:
    row = rows(smallest(), "Qwen/Qwen3-0.6B")["base_models"]
    assert row.status == "refused"
    assert SMOLLM in row.detail
