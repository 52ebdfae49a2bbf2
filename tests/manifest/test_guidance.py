"""Advice by kind of adapter and task; a manifest that follows it hears little."""

from __future__ import annotations

from typing import Any

import pytest

from hive_expert.manifest.guidance import DORA_TARGETS, IA3_TARGETS, advice
from hive_expert.manifest.parse import manifest_from
from tests.manifest.documents import changed, smallest

ADAPTER = "base_models[0].adapters[0]"
LORA = {"type": "lora", "r": 16, "alpha": 32, "target_modules": ["q_proj"]}
DORA = {"type": "dora", "r": 16, "alpha": 32, "target_modules": DORA_TARGETS, "dropout": 0.05}
IA3 = {"type": "ia3", "target_modules": IA3_TARGETS, "feedforward_modules": ["down_proj"]}


def paths(adapter: dict[str, Any], **fields: Any) -> set[str]:
    document = changed(smallest(), "base_models.0.adapters.0", {**adapter, "path": "weights/"})
    found = advice(manifest_from(document | fields))
    assert all(one.text for one in found)
    return {one.path for one in found}


@pytest.mark.parametrize("adapter", [LORA, DORA], ids=["lora", "dora"])
def test_what_follows_the_guidance_hears_nothing(adapter: dict[str, Any]) -> None:
    assert paths(adapter) == set()


def test_ia3_hears_what_it_is_for() -> None:
    assert paths(IA3) == {f"{ADAPTER}.type"}


@pytest.mark.parametrize(
    ("adapter", "change", "field"),
    [
        (LORA, {"r": 15, "alpha": 30}, "r"),
        (LORA, {"r": 33, "alpha": 66}, "r"),
        (LORA, {"alpha": 16}, "alpha"),
        (DORA, {"r": 7, "alpha": 14}, "r"),
        (DORA, {"r": 17, "alpha": 34}, "r"),
        (DORA, {"alpha": 16}, "alpha"),
        (DORA, {"dropout": 0.1}, "dropout"),
        (DORA, {"target_modules": ["q_proj"]}, "target_modules"),
        (IA3, {"target_modules": ["v_proj", "down_proj"]}, "target_modules"),
        (IA3, {"feedforward_modules": []}, "feedforward_modules"),
    ],
)
def test_each_departure_is_named(
    adapter: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    assert paths({**adapter, **change}) - paths(adapter) == {f"{ADAPTER}.{field}"}


@pytest.mark.parametrize(("lowest", "highest"), [(16, 32)])
def test_the_ends_of_a_range_are_in_it(lowest: int, highest: int) -> None:
    for rank in (lowest, highest):
        assert paths({**LORA, "r": rank, "alpha": 2 * rank}) == set()


@pytest.mark.parametrize("capability", ["task:text-to-cypher", "database:neo4j"])
def test_cypher_takes_a_higher_rank(capability: str) -> None:
    high, low = ({**DORA, "r": r, "alpha": 2 * r} for r in (24, 8))
    assert paths(high, capabilities=[capability]) == set()
    assert paths(low, capabilities=[capability]) == {f"{ADAPTER}.r"}
    assert paths(high) == {f"{ADAPTER}.r"}


def test_rslora_scales_by_itself() -> None:
    assert paths({**LORA, "alpha": 16, "scaling": "rslora"}) == set()


def test_ia3_takes_a_high_learning_rate_and_several_epochs() -> None:
    fine = {"config": {"learning_rate": 0.001, "epochs": 5}}
    short = {"config": {"learning_rate": 0.0001, "epochs": 4}}
    assert paths(IA3, training=fine) == paths(IA3)
    assert paths(IA3, training=short) - paths(IA3) == {
        "training.config.learning_rate",
        "training.config.epochs",
    }
    assert paths(LORA, training=short) == set()
