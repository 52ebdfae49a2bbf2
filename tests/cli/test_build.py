"""hive-build, as a shell sees it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hive_expert.cli.build import main
from hive_expert.cli.hive_trust import trust
from tests.cli.build_results import Run, parsed
from tests.engine.test_at_hand import base_model
from tests.package.samples import expert_directory


def add_trust(key: Path) -> None:
    result = CliRunner().invoke(trust, ["add", str(key.with_suffix(".pub.json"))])
    assert result.exit_code == 0


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


@pytest.mark.parametrize(
    "arguments", [("verify",), ("verify", "absent.expert"), ("package", "absent"), ("frobnicate",)]
)
def test_wrong_usage_is_2(run: Run, arguments: tuple[str, ...]) -> None:
    run(*arguments, exit_code=2)
