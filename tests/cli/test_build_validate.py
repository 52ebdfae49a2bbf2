"""hive-build validate, and what package refuses with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hive_expert.package.open import examine_package
from hive_expert.sharing.compatibility import Target, misfits
from tests.cli.build_results import Run, parsed
from tests.engine.test_at_hand import base_model
from tests.package.samples import expert_directory, forged, sample_members


@pytest.mark.parametrize("form", ["directory", "manifest", "package"])
def test_validate_takes_a_directory_a_manifest_or_a_package(
    run: Run, package: Path, form: str
) -> None:
    directory = package.parents[1] / "expert-sample"
    path = {"directory": directory, "manifest": directory / "manifest.json", "package": package}
    result = parsed(run("validate", path[form], "--json"))
    assert result["valid"] is True
    fields = {row["path"]: row["status"] for row in result["fields"]}
    assert fields["training.decoding.temperature"] == "passed"


def test_validate_prints_the_table_and_fails_on_a_refused_field(run: Run, tmp_path: Path) -> None:
    directory = expert_directory(tmp_path, runtime={"speculation": "eagle"})
    result = run("validate", directory, exit_code=1)
    assert "runtime.speculation" in result.stdout
    assert "refused" in result.stdout
    assert "1 of" in result.stderr


def test_validate_fails_on_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    (directory / "grammar.gbnf").unlink()
    assert "grammar.gbnf does not exist" in run("validate", directory, exit_code=1).stderr


def test_validate_judges_for_one_base_model(run: Run, tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    run("validate", directory, "--base", "smollm2-135m")
    result = parsed(run("validate", directory, "--base", "Qwen/Qwen3-0.6B", "--json", exit_code=1))
    assert result["valid"] is False


def test_validate_judges_against_a_base_that_is_on_this_machine(
    run: Run, tmp_path: Path, package: Path
) -> None:
    base = base_model(tmp_path / "smollm2-135m", width=7)
    for path in (tmp_path / "expert-sample", package):
        result = parsed(run("validate", path, "--base", base, "--json", exit_code=1))
        assert result["judged_for"]["base"] == "smollm2-135m"
        rows = {row["path"]: row for row in result["fields"]}
        assert rows["base_models[0].adapters[0].path"]["status"] == "refused"


def test_validate_takes_the_embedded_base_where_it_was_imported(
    run: Run, tmp_path: Path, home: Path
) -> None:
    directory = expert_directory(tmp_path)
    assert parsed(run("validate", directory, "--json"))["judged_for"] is None
    (home / "data" / "models").mkdir(parents=True)
    base_model(home / "data" / "models" / "smollm2-135m", width=7)
    result = parsed(run("validate", directory, "--json", exit_code=1))
    assert result["judged_for"]["base"] == "SmolLM2-135M-Instruct"


def test_validate_says_that_a_base_is_known_by_name_alone(run: Run, tmp_path: Path) -> None:
    result = run("validate", expert_directory(tmp_path), "--base", "smollm2-135m")
    assert "judged by its name alone" in result.stderr


def test_validate_reports_every_problem_of_a_broken_manifest(run: Run, tmp_path: Path) -> None:
    directory = expert_directory(tmp_path, versoin="1", training={"decoding": {"top_p": 2}})
    errors = run("validate", directory, exit_code=1).stderr
    assert "versoin" in errors
    assert "did you mean version?" in errors
    assert "training.decoding.top_p" in errors


def test_validate_gives_advice_and_does_not_fail_for_it(run: Run, tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    advice = parsed(run("validate", directory, "--json"))["advice"]
    assert [one["path"] for one in advice] == ["base_models[0].adapters[0].r"]
    assert "advice: base_models[0].adapters[0].r: for general" in run("validate", directory).stdout


def test_validate_tells_what_in_a_grammar_slows_answers_down(run: Run, tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    manifest = json.loads((directory / "manifest.json").read_bytes())
    manifest["training"] = {"decoding": {"use_grammar": True, "grammar_file": "grammar.gbnf"}}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    grammar = """root ::= "'" ( [^'] | "''" ){0,160} "'\"\nunused ::= "a"\n"""
    (directory / "grammar.gbnf").write_text(grammar)
    advice = parsed(run("validate", directory, "--json"))["advice"]
    slow, unused = (one for one in advice if one["path"] == "training.decoding.grammar_file")
    assert slow["text"].startswith("grammar.gbnf:1:29: a choice is counted here")
    assert unused["text"] == "grammar.gbnf:2:1: unused is never used"
    (directory / "grammar.gbnf").write_text("root ::= missing")
    result = run("validate", directory, "--json", exit_code=1)
    advice = json.loads(result.stdout)["advice"]
    assert [one["path"] for one in advice] == ["base_models[0].adapters[0].r"]


GRAMMAR = {"use_grammar": True, "grammar_file": "grammar.gbnf"}
SLOTS = [{"rule": "table", "extract": "sql_tables"}]


@pytest.mark.parametrize(
    ("decoding", "grammar", "path"),
    [
        (GRAMMAR, "root ::= missing", "grammar_file"),
        (GRAMMAR, "root ::= root", "grammar_file"),
        (
            {**GRAMMAR, "grammar_type": "gbnf_template", "grammar_slots": SLOTS},
            'root ::= "a"',
            "grammar_slots[0].rule",
        ),
        ({"validation": {"type": "sql", "dialect": "klingon"}}, None, "validation.dialect"),
        ({"validation": {"type": "sql", "json_schema": {}}}, None, "validation.json_schema"),
    ],
)
def test_decoding_that_no_server_could_keep_is_refused_and_not_packed(
    run: Run, tmp_path: Path, decoding: dict[str, Any], grammar: str | None, path: str
) -> None:
    directory = expert_directory(tmp_path, training={"decoding": decoding})
    if grammar is not None:
        (directory / "grammar.gbnf").write_text(grammar)
    rows = parsed(run("validate", directory, "--json", exit_code=1))["fields"]
    refused = [row["path"] for row in rows if row["status"] == "refused"]
    assert refused == [f"training.decoding.{path}"]
    assert run("package", directory, "--output", tmp_path / "out", exit_code=1).stderr
    assert not list((tmp_path / "out").glob("*"))


def test_decoding_of_a_manifest_alone_is_judged_but_for_its_files(run: Run, tmp_path: Path) -> None:
    alone = tmp_path / "alone.json"
    alone.write_bytes((expert_directory(tmp_path) / "manifest.json").read_bytes())
    assert parsed(run("validate", alone, "--json"))["valid"]
    dialect = {**GRAMMAR, "validation": {"type": "sql", "dialect": "klingon"}}
    directory = expert_directory(tmp_path / "other", training={"decoding": dialect})
    alone.write_bytes((directory / "manifest.json").read_bytes())
    assert "klingon" in run("validate", alone, exit_code=1).stdout


def test_the_decoding_of_a_package_is_judged(run: Run, tmp_path: Path) -> None:
    members = sample_members() | {"grammar.gbnf": b"root ::= missing"}
    stated = {"training": {"decoding": GRAMMAR}, "evaluation": {}}
    path = forged(tmp_path / "p.expert", members, manifest=stated)
    rows = parsed(run("validate", path, "--json", exit_code=1))["fields"]
    (refused,) = (row for row in rows if row["status"] == "refused")
    assert refused["path"] == "training.decoding.grammar_file"
    assert "grammar.gbnf:1:10" in refused["detail"]


def test_an_expert_that_was_trained_by_other_means_is_packed_and_fits_a_server(
    run: Run, tmp_path: Path
) -> None:
    training = {"dataset": {"type": "hub", "path": "ann/rows"}, "config": {"use_unsloth": True}}
    directory = expert_directory(tmp_path, training=training)
    (directory / "grammar.gbnf").unlink()
    assert "by hive-train" in run("validate", directory, exit_code=1).stdout
    run("package", directory, "--output", tmp_path / "p.expert")
    packed = examine_package(tmp_path / "p.expert")
    target = Target(("smollm2-135m",), None)
    assert list(misfits(packed.manifest, packed.rank, target)) == []
