"""What is read of manifests of version 1.0, and how its problems are placed."""

from __future__ import annotations

from typing import Any

import pytest

from hive_expert.errors import ManifestError
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.parse import manifest_from
from hive_expert.manifest.reference import records
from hive_expert.manifest.version1 import SPELLINGS, is_version_1
from tests.manifest.documents import changed, smallest

ADAPTERS = "base_models[].adapters"


def old(**changes: Any) -> dict[str, Any]:
    """The smallest manifest, as version 1.0 had it."""
    document = smallest()
    (base,) = document.pop("base_models")
    adapters = base.pop("adapters")
    return {**document, "schema_version": "1.0", "base_model": base, "adapters": adapters} | changes


def places(document: dict[str, Any]) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        manifest_from(document, "m")
    return sorted(problem.where.removeprefix("m: ") for problem in caught.value.problems)


def test_a_base_model_object_without_a_schema_version_means_1() -> None:
    document = old()
    del document["schema_version"]
    assert is_version_1(document)
    assert manifest_from(document) == manifest_from(smallest())


def test_schema_version_decides_when_it_is_there() -> None:
    assert not is_version_1(old(schema_version="2.0"))
    assert not is_version_1(smallest())


def test_version_1_is_read_as_the_same_manifest_of_version_2() -> None:
    assert manifest_from(old()) == manifest_from(smallest())


@pytest.mark.parametrize(
    ("place", "other", "field"),
    [(place, o, f) for place, names in SPELLINGS.items() for o, f in names.items()],
)
def test_every_other_name_is_of_a_field_and_is_no_field_itself(
    place: str, other: str, field: str
) -> None:
    record = {pattern.removesuffix("[]"): r for pattern, r in records(Manifest, "", "")}[
        place.removesuffix("[]").replace("base_model", "base_models").replace("adapters", ADAPTERS)
    ]
    assert field in record.model_fields
    assert other not in record.model_fields


@pytest.mark.parametrize(
    ("place", "other"), [(p, o) for p, names in SPELLINGS.items() for o in names]
)
def test_every_other_name_is_read_and_named_in_problems(place: str, other: str) -> None:
    document = old()
    wrong: Any = {other: {"not": "a value"}}
    if place in ("base_model", "adapters[]"):
        part = document["base_model"] if place == "base_model" else document["adapters"][0]
        part.pop(SPELLINGS[place][other], None)
        part |= wrong
    elif place == "soft_prompts[]":
        document["soft_prompts"] = [wrong]
    else:
        changed(document, place, wrong)
    expected = f"{place}.{other}".replace("[]", "[0]")
    assert any(found.startswith(expected) for found in places(document))


def test_problems_are_placed_where_the_author_wrote_them() -> None:
    document = old()
    adapter = document["adapters"][0]
    adapter["lora_alpha"] = -1
    del adapter["alpha"]
    adapter["target_modules"] = ["q_proj", "lm_head"]
    document["base_model"]["quantisation"] = "int4"
    document["versoin"] = "1"
    assert places(document) == [
        "adapters[0].lora_alpha",
        "adapters[0].target_modules[1]",
        "base_model.quantisation",
        "versoin",
    ]


def test_a_field_under_two_names_is_refused() -> None:
    document = old()
    document["adapters"][0]["rank"] = 8
    document["training"] = {"config": {"epochs": 1, "num_train_epochs": 1}}
    assert places(document) == ["adapters[0].rank", "training.config.num_train_epochs"]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"base_models": []}, "base_models"),
        ({"base_model": "Qwen/Qwen3-0.6B"}, "base_model"),
        ({"base_model": {"name": "x", "adapters": []}}, "base_model.adapters"),
        ({"integrity": {"format": 2}}, "integrity"),
        ({"adapters": []}, "base_model"),
        ({"adapters": 5}, "adapters"),
    ],
)
def test_what_is_not_of_version_1_is_refused(changes: dict[str, Any], place: str) -> None:
    assert places(old(**changes)) == [place]


def test_version_1_needs_a_base_model() -> None:
    document = old()
    del document["base_model"]
    assert places(document) == ["base_model"]


def test_other_names_are_not_looked_for_in_free_values() -> None:
    schema = {"type": "object", "properties": {"lr": {"type": "number"}}, "stop": 1}
    document = old(training={"decoding": {"json_schema": schema}, "_config": {"lr": 1}})
    manifest = manifest_from(document)
    assert manifest.training is not None
    assert manifest.training.decoding is not None
    assert manifest.training.decoding.json_schema == schema
    assert manifest.training.comments == {"_config": {"lr": 1}}


def test_other_names_are_unknown_in_version_2() -> None:
    assert places(changed(smallest(), "base_models.0.adapters.0.lora_alpha", 16)) == [
        "base_models[0].adapters[0].lora_alpha"
    ]
