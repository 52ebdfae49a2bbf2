"""What holds for every expert that ships, and every one of its manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hive_expert.decoding.grammar import decode_grammar
from hive_expert.manifest.fields import field_status
from hive_expert.manifest.parse import parse_manifest

ROOT = Path(__file__).parents[2]
EXPERTS = sorted(path.parent for path in ROOT.glob("experts/*/manifest.json"))
MANIFESTS = sorted(ROOT.glob("experts/*/manifest*.json"))
of_each = pytest.mark.parametrize("expert", EXPERTS, ids=lambda path: path.name)
of_each_manifest = pytest.mark.parametrize(
    "path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}"
)


def test_all_are_here() -> None:
    assert len(EXPERTS) == 4
    assert len(MANIFESTS) >= 8


@of_each_manifest
def test_no_field_of_a_manifest_is_refused(path: Path) -> None:
    manifest = parse_manifest(path.read_bytes())
    assert [row for row in field_status(manifest) if row.status == "refused"] == []


@of_each_manifest
def test_files_that_a_manifest_names_are_there(path: Path) -> None:
    manifest = parse_manifest(path.read_bytes())
    assert manifest.training and manifest.training.decoding and manifest.evaluation
    for name in (manifest.training.decoding.grammar_file, manifest.evaluation.test_cases):
        assert name and (path.parent / name).is_file()


@of_each
def test_what_is_claimed_is_what_the_stored_report_measured(expert: Path) -> None:
    report = json.loads((ROOT / "benchmarks" / "results" / f"{expert.name}.json").read_bytes())
    for duel in report["duels"]:
        assert duel["wins"] + duel["losses"] + duel["ties"] == report["cases"]
        assert duel["win_rate"]["value"] == duel["wins"] / report["cases"]
    bases = [s for s in report["standings"] if s["model"] != expert.name]
    (duel,) = [
        d
        for d in report["duels"]
        if (d["expert_variant"], d["base_variant"])
        == ("grammar", max(bases, key=lambda s: s["correct"]["value"])["variant"])
    ]
    claimed = json.loads((expert / "manifest.json").read_bytes())["quality_metrics"]
    assert claimed["win_rate_vs_base"] == round(duel["wins"] / report["cases"], 4)


@of_each
def test_the_license_is_the_repositorys(expert: Path) -> None:
    assert (expert / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@of_each
def test_the_grammar_passes_the_servers_check_without_a_warning(expert: Path) -> None:
    grammar = decode_grammar((expert / "grammar.gbnf").read_bytes(), "grammar.gbnf")
    assert grammar.warnings == ()


@of_each
def test_case_ids_are_unique_and_messages_well_formed(expert: Path) -> None:
    path = expert / "tests" / "test_cases.json"
    assert path.stat().st_size < 400_000
    cases = json.loads(path.read_bytes())["cases"]
    assert len({case["id"] for case in cases}) == len(cases) >= 300
    for case in cases:
        assert [m["role"] for m in case["messages"]] in (["system", "user"], ["user"])
