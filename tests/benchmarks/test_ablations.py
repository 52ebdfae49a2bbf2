from __future__ import annotations

import json
from pathlib import Path

import ablations
import pytest
from ablations_variants import USUAL, VARIANTS, Variant, manifest_of
from click.testing import CliRunner

from hive_expert.manifest.parse import manifest_from
from hive_expert.training.config import plan_training

SHIPPED = json.loads((Path(__file__).parents[2] / "experts/expert-sql/manifest.json").read_bytes())


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_a_variant_is_what_its_manifest_trains(variant: Variant) -> None:
    plan = plan_training(manifest_from(manifest_of(SHIPPED, variant)), device="cpu")
    assert (plan.adapter is not None) == (variant.adapter is not None)
    assert (plan.soft_prompt is not None) == variant.soft_prompt
    assert plan.sft_arguments["learning_rate"] == variant.learning_rate


def test_the_usual_one_is_trained_as_what_ships() -> None:
    usual = manifest_of(SHIPPED, VARIANTS[0])
    assert VARIANTS[0].name == USUAL
    assert usual["training"] == SHIPPED["training"]
    assert usual["base_models"] == SHIPPED["base_models"]


def test_no_variant_claims_what_the_shipped_expert_reaches() -> None:
    assert "quality_metrics" in SHIPPED
    for variant in VARIANTS:
        manifest = manifest_of(SHIPPED, variant)
        assert not {"quality_metrics", "perf", "evaluation"} & manifest.keys()


def test_runs_of_another_length_are_not_taken_for_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def run(command: str, *words: str, python: bool = False) -> None:
        if command == "hive-train":
            trained.append(words[words.index("--max-steps") + 1])
        elif "--rows" in words:
            folder = Path(words[words.index("--output") + 1])
            (folder / "held-out").mkdir(parents=True)
            for name in (f"{USUAL}.jsonl", "held-out/validation.jsonl"):
                (folder / name).touch()

    monkeypatch.setattr(ablations, "_run", run)
    for options in ("--quick", "--steps=7", "--steps=7"):
        line = ["--state", str(tmp_path), "--only", USUAL, options]
        done = CliRunner().invoke(ablations.main, line)
        assert done.exit_code == 0, done.output
    assert trained == ["5", "7"]
