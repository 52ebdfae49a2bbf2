from __future__ import annotations

import json
from pathlib import Path

import pytest
from ablations_variants import USUAL, VARIANTS, Variant, manifest_of

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
