"""hive-build, as a shell sees it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hive_expert.cli.build import main
from hive_expert.cli.hive_trust import trust
from hive_expert.package.open import examine_package
from hive_expert.sharing.compatibility import Target, misfits
from tests.engine.test_at_hand import base_model
from tests.package.samples import expert_directory, forged, sample_members

Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without settings."""
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    for variable in ("HIVE_TRUST", "HIVE_KEY_PASSPHRASE", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> Run:
    def invoke(*arguments: object, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(a) for a in arguments])
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


@pytest.fixture
def key(run: Run, tmp_path: Path) -> Path:
    run("keygen", "--name", "Ann", "--output", tmp_path / "ann.pem")
    return tmp_path / "ann.pem"


@pytest.fixture
def package(run: Run, tmp_path: Path, key: Path) -> Path:
    directory = expert_directory(tmp_path)
    run("package", directory, "--key", key, "--output", tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.expert")
    return path


def add_trust(key: Path) -> None:
    result = CliRunner().invoke(trust, ["add", str(key.with_suffix(".pub.json"))])
    assert result.exit_code == 0


def parsed(result: Result) -> Any:
    return json.loads(result.stdout)


COMMANDS = ("new", "validate", "migrate", "package", "keygen", "sign", "verify", "inspect")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples_and_json(run: Run, command: str) -> None:
    text = run(command, "--help").output
    assert "Examples:" in text
    assert f"hive-build {command}" in text
    assert "--json" in text


def test_these_are_all_commands() -> None:
    assert sorted(main.commands) == sorted(COMMANDS)


def test_help_starts_quickly_and_without_heavy_libraries() -> None:
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from hive_expert.cli.build import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'vllm', 'transformers', 'numpy', 'pydantic', 'jsonschema'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.strip() == "[]"
    # Processor time: the clock on the wall also measures what else the machine does.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_working_commands_import_neither_torch_nor_vllm(package: Path) -> None:
    base = str(base_model(package.parent / "smollm2-135m"))
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from hive_expert.cli.build import main\n"
        f"assert CliRunner().invoke(main, ['inspect', {str(package)!r}]).exit_code == 0\n"
        f"judged = CliRunner().invoke(main, ['validate', {str(package)!r}, '--base', {base!r}])\n"
        "assert judged.exit_code == 0 and 'judged against smollm2-135m' in judged.stderr\n"
        "print(sorted({'torch', 'vllm', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_from_a_directory_to_a_verified_package(run: Run, package: Path, key: Path) -> None:
    add_trust(key)
    result = run("verify", package)
    assert "accepted under the policy enforce" in result.stdout
    assert "signed by Ann" in result.stdout


def test_package_prints_where_and_what(run: Run, tmp_path: Path, key: Path) -> None:
    directory = expert_directory(tmp_path)
    result = parsed(run("package", directory, "--key", key, "--output", tmp_path, "--json"))
    assert Path(result["path"]).name == "expert-sample-smollm2-135m.v0.1.0.expert"
    assert result["signed"] is True
    assert result["size"] == Path(result["path"]).stat().st_size


def test_an_unsigned_package_is_pointed_out(run: Run, tmp_path: Path) -> None:
    result = run("package", expert_directory(tmp_path), "--output", tmp_path)
    assert "not signed" in result.stderr


def test_a_base_model_that_is_not_there_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    result = run("package", directory, "--model", "llama", "--output", tmp_path, exit_code=2)
    assert "choose: smollm2-135m" in result.stderr


def test_missing_weights_fail_with_file_and_remedy(run: Run, tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    (directory / "weights" / "adapter_model.safetensors").unlink()
    result = run("package", directory, "--output", tmp_path, exit_code=1)
    assert "expert-sample/weights/adapter_model.safetensors" in result.stderr
    assert "hive-train run" in result.stderr
    assert result.stdout == ""


def test_keygen_prints_the_key_and_both_files(run: Run, home: Path) -> None:
    result = parsed(run("keygen", "--name", "Ann", "--json"))
    assert Path(result["private_key"]) == home / "config" / "keys" / "publisher.pem"
    public = json.loads(Path(result["public_key"]).read_bytes())
    assert (public["name"], public["key_id"]) == ("Ann", result["key_id"])


def test_keygen_does_not_overwrite(run: Run, key: Path) -> None:
    before = key.read_bytes()
    assert "exists already" in run("keygen", "--name", "Bo", "--output", key, exit_code=1).stderr
    assert key.read_bytes() == before


def test_a_passphrase_is_asked_for_twice(home: Path, tmp_path: Path) -> None:
    arguments = ["keygen", "--name", "Ann", "--output", str(tmp_path / "a.pem"), "--passphrase"]
    result = CliRunner().invoke(main, arguments, input="horse\nhorse\n")
    assert result.exit_code == 0
    assert b"ENCRYPTED" in (tmp_path / "a.pem").read_bytes()
    assert "horse" not in result.output


def test_a_passphrase_comes_from_the_environment(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIVE_KEY_PASSPHRASE", "horse")
    assert parsed(run("keygen", "--name", "Ann", "--output", tmp_path / "a.pem", "--json"))[
        "encrypted"
    ]
    run("package", expert_directory(tmp_path), "--key", tmp_path / "a.pem", "--output", tmp_path)
    monkeypatch.delenv("HIVE_KEY_PASSPHRASE")
    result = run(
        *("package", tmp_path / "expert-sample", "--key", tmp_path / "a.pem"),
        *("--output", tmp_path),
        exit_code=1,
    )
    assert "HIVE_KEY_PASSPHRASE" in result.stderr


def test_sign_signs_in_place_or_elsewhere(run: Run, tmp_path: Path, key: Path) -> None:
    run("package", expert_directory(tmp_path), "--output", tmp_path / "p.expert")
    unsigned = (tmp_path / "p.expert").read_bytes()
    run("sign", tmp_path / "p.expert", "--key", key, "--output", tmp_path / "q.expert")
    assert (tmp_path / "p.expert").read_bytes() == unsigned
    run("sign", tmp_path / "p.expert", "--key", key)
    assert (tmp_path / "p.expert").read_bytes() == (tmp_path / "q.expert").read_bytes()


def test_verify_refuses_a_stranger_with_the_reason_and_the_remedy(run: Run, package: Path) -> None:
    result = run("verify", package, exit_code=1)
    assert "refused under the policy enforce" in result.stdout
    assert "do not trust" in result.stderr
    assert "hive trust add" in result.stderr


@pytest.mark.parametrize("how", ["flag", "environment", "file"])
def test_the_policy_comes_from_flag_environment_or_file(
    run: Run, package: Path, home: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    arguments = ["--trust", "warn"] if how == "flag" else []
    if how == "environment":
        monkeypatch.setenv("HIVE_TRUST", "warn")
    if how == "file":
        (home / "config").mkdir(parents=True, exist_ok=True)
        (home / "config" / "config.toml").write_text('trust = "warn"\n')
    assert parsed(run("verify", package, "--json", *arguments))["policy"] == "warn"


def test_the_flag_wins_over_the_environment_and_that_over_the_file(
    run: Run, package: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / "config.toml").write_text('trust = "off"\n')
    monkeypatch.setenv("HIVE_TRUST", "warn")
    assert parsed(run("verify", package, "--json"))["policy"] == "warn"
    assert parsed(run("verify", package, "--json", "--trust", "off"))["policy"] == "off"


@pytest.mark.parametrize("content", ['trust = "of"', "trust = ", "trust = true"])
def test_a_broken_policy_file_is_wrong_usage(
    run: Run, package: Path, home: Path, content: str
) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / "config.toml").write_text(content)
    assert "config.toml" in run("verify", package, exit_code=2).stderr


def test_verify_says_what_trust_says_in_json(run: Run, package: Path, key: Path) -> None:
    refused = parsed(run("verify", package, "--json", exit_code=1))
    assert (refused["sound"], refused["accepted"], refused["signer"]) == (True, False, None)
    assert refused["reasons"][0]["remedy"]
    add_trust(key)
    CliRunner().invoke(trust, ["pin", "expert-sample", "0.1.0"])
    accepted = parsed(run("verify", package, "--json"))
    assert (accepted["accepted"], accepted["signer"]) == (True, "Ann")
    assert accepted["pin"] == {"version": "0.1.0"}


def test_verify_of_a_damaged_package_fails_in_both_forms(run: Run, package: Path) -> None:
    damaged = bytearray(package.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    package.write_bytes(damaged)
    assert package.name in run("verify", package, exit_code=1).stderr
    result = parsed(run("verify", package, "--json", "--trust", "off", exit_code=1))
    assert (result["sound"], result["accepted"]) == (False, False)


def test_inspect_shows_members_manifest_and_signature(run: Run, package: Path) -> None:
    text = run("inspect", package).stdout
    for expected in ("grammar.gbnf", "training.decoding.temperature", "signed by", "Ann"):
        assert expected in text
    result = parsed(run("inspect", package, "--json"))
    assert result["signature"]["algorithm"] == "ed25519"
    assert {m["path"] for m in result["members"]} >= {"manifest.json", "signature.sig"}
    assert result["manifest"]["name"] == "expert-sample"


def test_text_of_a_package_is_not_read_as_markup(run: Run, tmp_path: Path) -> None:
    directory = expert_directory(tmp_path, description="[red]not markup[/] [link=x]y[/link]")
    run("package", directory, "--output", tmp_path / "p.expert")
    assert "[red]not markup[/] [link=x]y[/link]" in run("inspect", tmp_path / "p.expert").stdout


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


@pytest.mark.parametrize(
    "arguments", [("verify",), ("verify", "absent.expert"), ("package", "absent"), ("frobnicate",)]
)
def test_wrong_usage_is_2(run: Run, arguments: tuple[str, ...]) -> None:
    run(*arguments, exit_code=2)


@pytest.fixture
def old_expert(tmp_path: Path) -> Path:
    """The sample expert with a manifest of version 1.0."""
    directory = expert_directory(tmp_path)
    manifest = directory / "manifest.json"
    document = json.loads(manifest.read_text())
    (base,) = document.pop("base_models")
    (adapter,) = base.pop("adapters")
    adapter["lora_alpha"] = adapter.pop("alpha")
    old = {**document, "schema_version": "1.0", "base_model": base, "adapters": [adapter]}
    manifest.write_text(json.dumps(old))
    return directory


def test_a_first_generation_expert_is_packed_as_it_is(
    run: Run, old_expert: Path, tmp_path: Path
) -> None:
    run("package", old_expert, "--output", tmp_path / "old")
    run("migrate", old_expert)
    run("package", old_expert, "--output", tmp_path / "new")
    (old,), (new,) = ((tmp_path / side).glob("*.expert") for side in ("old", "new"))
    assert old.read_bytes() == new.read_bytes()


def test_migrate_keeps_the_original(run: Run, old_expert: Path) -> None:
    original = (old_expert / "manifest.json").read_bytes()
    result = parsed(run("migrate", old_expert, "--json"))
    assert Path(result["backup"]).read_bytes() == original
    assert result["renamed"] == [
        {"from": "adapters[0].lora_alpha", "to": "base_models[0].adapters[0].alpha"}
    ]
    assert json.loads((old_expert / "manifest.json").read_text())["schema_version"] == "2.0"
    assert not parsed(run("migrate", old_expert, "--json"))["needed"]


def test_migrate_can_be_tried_without_writing(run: Run, old_expert: Path) -> None:
    before = {p: p.read_bytes() for p in old_expert.rglob("*") if p.is_file()}
    shown = json.loads(run("migrate", old_expert, "--dry-run").stdout)
    assert shown["base_models"][0]["adapters"][0]["alpha"] == 4
    assert parsed(run("migrate", old_expert, "--dry-run", "--json"))["written"] is None
    assert {p: p.read_bytes() for p in old_expert.rglob("*") if p.is_file()} == before


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
    packed = examine_package(tmp_path / "p.expert").manifest
    assert list(misfits(packed, Target(("smollm2-135m",), None))) == []
