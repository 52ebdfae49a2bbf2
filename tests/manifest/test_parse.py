"""Reading and writing manifests; the words of what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hive_expert.errors import ManifestError
from hive_expert.manifest.parse import comments, dump_manifest, manifest_from, parse_manifest
from tests.manifest.documents import changed, full, smallest


def problems(document: Any) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        manifest_from(document, "m.json")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("document", [smallest(), full()], ids=["smallest", "full"])
def test_a_manifest_is_read_as_it_was_written(document: dict[str, Any]) -> None:
    # Two ways to constrain the answer need a grammar_type, which the full document has.
    manifest = parse_manifest(json.dumps(document).encode())
    assert parse_manifest(dump_manifest(manifest)) == manifest


def test_dumping_keeps_what_was_said_and_adds_nothing() -> None:
    assert json.loads(dump_manifest(manifest_from(full()))) == full()
    assert json.loads(dump_manifest(manifest_from(smallest()))) == smallest()


def test_dumping_is_deterministic_and_in_the_models_order() -> None:
    backwards = dict(reversed(full().items()))
    assert dump_manifest(manifest_from(backwards)) == dump_manifest(manifest_from(full()))


def test_absent_and_explicit_are_told_apart() -> None:
    absent = manifest_from(smallest())
    explicit = manifest_from(changed(smallest(), "base_models.0.sha256", ""))
    assert "sha256" not in absent.base_models[0].model_fields_set
    assert "sha256" in explicit.base_models[0].model_fields_set


def test_whole_numbers_stay_whole() -> None:
    assert b'"alpha": 16,' in dump_manifest(manifest_from(smallest()))


def test_comments_are_kept_and_listed_with_their_paths() -> None:
    assert comments(manifest_from(full())) == (
        ("_note", "a comment"),
        ("training.config._seed", "chosen by dice"),
    )


def test_keys_of_a_json_schema_are_not_comments() -> None:
    schema = json.loads(dump_manifest(manifest_from(full())))["training"]["decoding"]["json_schema"]
    assert schema["properties"] == {"_id": {"default": None}}


def test_an_unknown_key_is_met_with_the_nearest_known_one() -> None:
    document = changed(smallest(), "base_models.0.adapters.0.target_module", ["q_proj"])
    assert problems(document) == [
        "m.json: base_models[0].adapters[0].target_module: unknown key"
        " (did you mean target_modules?)"
    ]


def test_an_unknown_key_like_no_other_is_met_with_all() -> None:
    (problem,) = problems(changed(smallest(), "constraints.zzz", 1))
    assert "known here: max_chain, load_order, incompatible_with, requires" in problem


def test_all_problems_are_reported_at_once_each_with_its_path() -> None:
    document = changed(smallest(), "versoin", "1.0.0")
    del document["version"]
    changed(document, "base_models.0.adapters.0.r", 0)
    changed(document, "training.decoding.temperature", 3)
    changed(document, "training.config.warmup_steps", 5)
    changed(document, "training.config.warmup_ratio", 0.5)
    places = [problem.split(": ")[1] for problem in problems(document)]
    assert sorted(places) == [
        "base_models[0].adapters[0].r",
        "training.config.warmup_ratio",
        "training.decoding.temperature",
        "version",
        "versoin",
    ]


def test_a_broken_item_does_not_make_its_list_too_short() -> None:
    (problem,) = problems(changed(smallest(), "base_models.0.adapters.0.target_modules", ["x"]))
    assert problem.startswith("m.json: base_models[0].adapters[0].target_modules[0]:")


def test_a_choice_of_forms_is_not_in_the_path() -> None:
    document = changed(smallest(), "base_models.0.rope_scaling", {"type": "yarn", "factr": 2})
    (problem,) = problems(document)
    assert problem == (
        "m.json: base_models[0].rope_scaling.factr: unknown key (did you mean factor?)"
    )


def test_null_is_named_as_such() -> None:
    assert problems(changed(smallest(), "license", None)) == [
        "m.json: license: null is not a value (leave the field out)"
    ]


def test_null_is_refused_in_fields_of_any_name_too() -> None:
    assert problems({**smallest(), "runtime": {"anything": None}}) == [
        "m.json: runtime.anything: null is not a value (leave the field out)"
    ]
    manifest_from({**smallest(), "runtime": {"anything": {"inside": None}}})


@pytest.mark.parametrize("document", [[], "text", 1, None])
def test_a_manifest_is_an_object(document: Any) -> None:
    assert problems(document) == ["m.json: is not a JSON object"]


def test_version_2_must_say_so() -> None:
    document = smallest()
    del document["schema_version"]
    assert problems(document) == ["m.json: schema_version: is missing"]


def test_the_strict_reader_is_in_front() -> None:
    with pytest.raises(ManifestError, match="more than once"):
        parse_manifest(b'{"name": 1, "name": 2}')


def test_a_flood_of_problems_is_cut_short() -> None:
    flood = {**smallest(), **{f"key{i}": 1 for i in range(5000)}}
    found = problems(flood)
    assert len(found) == 101
    assert "only 100 problems are listed" in found[-1]


def test_a_manifest_of_more_values_than_anyone_writes_is_refused() -> None:
    data = json.dumps({**smallest(), "capabilities": ["usecase:a"] * 20_000}).encode()
    with pytest.raises(ManifestError, match="more than the 20000 values"):
        parse_manifest(data)
