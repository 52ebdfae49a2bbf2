"""hive trust, as a shell sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hive_expert.cli.hive_trust import trust
from hive_expert.package.keys import save_key
from tests.package.samples import key

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))

    def invoke(*arguments: object, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(trust, [str(a) for a in arguments])
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


@pytest.fixture
def ann(tmp_path: Path) -> Path:
    return save_key(key("Ann"), tmp_path / "ann.pem")


def listed(run: Run) -> Any:
    return json.loads(run("list", "--json").stdout)


@pytest.mark.parametrize("command", ["add", "list", "remove", "pin"])
def test_every_command_has_help_with_examples_and_json(run: Run, command: str) -> None:
    text = run(command, "--help").output
    assert f"hive trust {command}" in text
    assert "--json" in text


def test_these_are_all_commands() -> None:
    assert sorted(trust.commands) == ["add", "list", "pin", "remove"]


def test_a_key_that_was_added_is_listed(run: Run, ann: Path) -> None:
    assert key("Ann").key_id in run("add", ann).stdout
    (entry,) = listed(run)["keys"]
    assert (entry["publisher"], entry["names"], entry["revoked"]) == ("Ann", ["*"], None)
    assert "Ann" in run("list").stdout


def test_a_key_may_be_trusted_for_some_names_only(run: Run, ann: Path) -> None:
    run("add", ann, "--names", "acme-*", "--names", "expert-sql")
    assert listed(run)["keys"][0]["names"] == ["acme-*", "expert-sql"]


def test_adding_again_changes_the_names(run: Run, ann: Path) -> None:
    run("add", ann)
    run("add", ann, "--names", "sql")
    (entry,) = listed(run)["keys"]
    assert entry["names"] == ["sql"]


@pytest.mark.parametrize("pattern", ["", "[a-z]*", "SQL", "a/b"])
def test_a_pattern_that_is_none_is_wrong_usage(run: Run, ann: Path, pattern: str) -> None:
    run("add", ann, "--names", pattern, exit_code=2)
    assert listed(run)["keys"] == []


def test_a_file_that_is_no_public_key_is_refused(run: Run, tmp_path: Path, ann: Path) -> None:
    assert "ann.pem" in run("add", tmp_path / "ann.pem", exit_code=1).stderr


@pytest.mark.parametrize("name", ["Ann", key("Ann").key_id, key("Ann").key_id[:8]])
def test_a_key_is_removed_by_name_or_id_and_stays_on_record(run: Run, ann: Path, name: str) -> None:
    run("add", ann)
    run("remove", name)
    (entry,) = listed(run)["keys"]
    assert entry["revoked"] is not None


def test_a_removed_key_comes_back_only_after_it_was_forgotten(run: Run, ann: Path) -> None:
    run("add", ann)
    run("remove", "Ann")
    assert "--forget" in run("add", ann, exit_code=2).stderr
    run("remove", "--forget", "Ann")
    assert listed(run)["keys"] == []
    run("add", ann)
    assert listed(run)["keys"][0]["revoked"] is None


@pytest.mark.parametrize("name", ["Bo", key("Ann").key_id[:7], ""])
def test_removing_nobody_is_wrong_usage(run: Run, ann: Path, name: str) -> None:
    run("add", ann)
    assert "is no trusted key" in run("remove", name, exit_code=2).stderr


def test_removing_an_ambiguous_name_is_wrong_usage(run: Run, ann: Path, tmp_path: Path) -> None:
    public = json.loads(save_key(key("Bo"), tmp_path / "bo.pem").read_bytes())
    (tmp_path / "bo.pub.json").write_text(json.dumps({**public, "name": "Ann"}))
    run("add", ann)
    run("add", tmp_path / "bo.pub.json")
    assert "fits 2 keys" in run("remove", "Ann", exit_code=2).stderr


def test_a_version_or_a_digest_is_pinned(run: Run) -> None:
    run("pin", "expert-sql", "0.2.0")
    assert listed(run)["pins"] == {"expert-sql": {"version": "0.2.0"}}
    run("pin", "expert-sql", "d" * 64)
    assert listed(run)["pins"] == {"expert-sql": {"digest": "d" * 64}}
    run("pin", "expert-sql", "--remove")
    assert listed(run)["pins"] == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ("expert-sql",),
        ("expert-sql", "0.2.0", "--remove"),
        ("expert-sql", "latest"),
        ("sql", "0.2.0"),
        ("expert-sql", "D" * 64),
    ],
)
def test_a_pin_to_nothing_is_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    run("pin", *arguments, exit_code=2)
    assert listed(run)["pins"] == {}


def test_a_broken_trust_file_is_reported_and_not_replaced(
    run: Run, ann: Path, tmp_path: Path
) -> None:
    path = tmp_path / "home" / "config" / "trust.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert "trust.json" in run("add", ann, exit_code=1).stderr
    assert path.read_text() == "{"
