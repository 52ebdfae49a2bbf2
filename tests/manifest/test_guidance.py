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


USUAL: dict[str, dict[str, Any]] = {
    "format:json": {"temperature": 0.2, "top_p": 0.9, "top_k": 50},
    "task:text-to-sql": {"temperature": 0.1, "stop_sequences": [";", "\n\n"]},
    "language:TypeScript": {"temperature": 0.3, "top_p": 0.95},
    "database:neo4j": {"temperature": 0.35},
}


def decoding_advice(capabilities: list[str], **decoding: Any) -> set[str]:
    found = paths(LORA, capabilities=capabilities, training={"decoding": decoding})
    return {path.removeprefix("training.decoding.") for path in found}


@pytest.mark.parametrize("capability", USUAL)
def test_usual_sampling_hears_nothing_and_silence_neither(capability: str) -> None:
    assert decoding_advice([capability], **USUAL[capability]) == set()
    assert decoding_advice([capability]) == set()


@pytest.mark.parametrize(
    ("capability", "change"),
    [
        ("format:json", {"temperature": 0.3}),
        ("format:json", {"top_p": 0.95}),
        ("format:json", {"top_k": 40}),
        ("task:text-to-sql", {"temperature": 0.2}),
        ("task:text-to-sql", {"stop_sequences": [";"]}),
        ("language:TypeScript", {"temperature": 0.1}),
        ("language:TypeScript", {"top_p": 0.9}),
        ("database:neo4j", {"temperature": 0.4}),
    ],
)
def test_unusual_sampling_is_named(capability: str, change: dict[str, Any]) -> None:
    assert decoding_advice([capability], **USUAL[capability] | change) == {*change}


def test_the_task_tells_what_answers_are_before_the_format_does() -> None:
    assert decoding_advice(["format:json", "task:text-to-sql"], temperature=0.2) == {"temperature"}
    assert decoding_advice(["format:json", "language:sql"], temperature=1) == set()
    assert decoding_advice(["task:chat"], temperature=1) == set()
