"""hive list over a folder, and what it does about servers."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hive_expert.cli.hive import main
from hive_expert.cli.hive_list import publisher_in_words, quality_in_words
from hive_expert.cli.server_options import one_line, printable
from hive_expert.client.plain_http import refusal
from hive_expert.package.skim import skim
from tests.package.samples import key, package
from tests.router.experts import ROOT

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(main, ["list", *map(str, arguments)])
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """expert-sql's manifest, unpacked, and a broken package."""
    experts = tmp_path / "experts.d"
    (experts / "expert-sql").mkdir(parents=True)
    shutil.copy(ROOT / "experts" / "expert-sql" / "manifest.json", experts / "expert-sql")
    (experts / "broken.expert").write_bytes(b"no package")
    return experts


def test_help_has_examples(run: Run) -> None:
    assert "hive list --experts-dir" in run("--help").output


def test_unpacked_experts_are_listed_where_they_would_be_served(run: Run, folder: Path) -> None:
    listed = json.loads(run("--experts-dir", folder, "--trust", "off", "--json").stdout)
    by_state = {entry["state"]: entry for entry in listed}
    assert by_state["available"]["id"] == "expert-sql"
    assert by_state["available"]["residency"] == "disk"
    assert by_state["unavailable"]["source"] == "broken.expert"
    assert by_state["unavailable"]["problems"]


def test_unpacked_experts_are_not_served_under_enforce(run: Run, folder: Path) -> None:
    text = run("--experts-dir", folder).stdout
    assert "not served: expert-sql" in text
    assert "is not signed" in text


def test_a_signed_folder_is_listed_as_its_package(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts = tmp_path / "experts.d"
    made = package(tmp_path / "made", key())
    with tarfile.open(made) as archive:
        archive.extractall(experts / "expert-sample", filter="data")
    (refused,) = json.loads(run("--experts-dir", experts, "--json").stdout)
    assert (refused["state"], refused["id"]) == ("unavailable", "expert-sample")
    (listed,) = json.loads(run("--experts-dir", experts, "--trust", "warn", "--json").stdout)
    assert (listed["state"], listed["source"]) == ("available", "expert-sample")
    assert listed["digest"] == f"sha256:{skim(made).facts.digest}"


def test_the_table_names_version_and_quality(run: Run, folder: Path) -> None:
    text = run("--experts-dir", folder, "--trust", "off").stdout
    assert "expert-sql" in text
    assert "unsigned" in text


def test_without_a_server_the_folder_at_hand_is_listed(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hive_expert.client.plain_http.DEFAULT_URL", "http://127.0.0.1:1")
    result = run("--trust", "off", "--json")
    assert json.loads(result.stdout)
    told = " ".join(run("--trust", "off").stderr.split())
    assert "no server answers at http://127.0.0.1:1" in told


def test_a_server_that_refuses_is_not_taken_for_none(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(url: str, *_: Any, **__: Any) -> Any:
        raise refusal(401, b'{"error": {"message": "no key"}}', url)

    monkeypatch.setattr("hive_expert.client.plain_http.ask_server", refused)
    result = run(exit_code=1)
    assert "no key (HTTP 401)" in result.stderr
    assert "--api-key" in result.stderr
    told = " ".join(run("--experts-dir", folder).stderr.split())
    assert "no server was asked" in told


def test_with_neither_there_is_an_error_that_helps(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hive_expert.client.plain_http.DEFAULT_URL", "http://127.0.0.1:1")
    assert "--experts-dir" in run(exit_code=1).stderr


def test_a_server_that_was_named_must_answer(run: Run, folder: Path) -> None:
    assert "no server answers" in run("--url", "http://127.0.0.1:1", exit_code=1).stderr
    run("--url", "nonsense", exit_code=2)


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        (None, "not measured"),
        ({}, "not measured"),
        ({"benchmark_score": 0.5}, "0.5"),
        (
            {"benchmark_score": 0.61, "base_model_score": 0.02, "test_queries": 200},
            "0.61 (base 0.02, 200 cases)",
        ),
    ],
)
def test_quality_in_words(quality: Any, words: str) -> None:
    assert quality_in_words(quality) == words


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ({"reproduced": True, "cases": 200, "total": 200}, "0.61, reproduced here"),
        ({"reproduced": True, "cases": 200, "total": None}, "0.61, reproduced here"),
        ({"reproduced": True, "cases": 24, "total": 200, "unjudged": ["win_rate_vs_base"]},
         "0.61, reproduced here in 24 of 200 cases but for win_rate_vs_base"),
        ({"reproduced": False, "score": 0.4, "cases": 24, "total": 200},
         "0.61, NOT reproduced: 0.4 here in 24 of 200 cases"),
    ],
)  # fmt: skip
def test_a_check_in_words(check: dict[str, Any], words: str) -> None:
    assert quality_in_words({"benchmark_score": 0.61}, check) == words


def test_what_others_write_cannot_command_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x07\r\x9bc\u202ed") == "a[2Jb cd"
    assert printable("two\n\tlines\u00a0here 😀") == "two\n\tlines here 😀"
    assert one_line("a\nb\x1b]0;title\x07" + "c" * 100, 20) == "a b]0;titlecccccccc…"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"state": "available", "publisher": "Ann"}, "Ann"),
        ({"state": "available", "publisher": None}, "unsigned"),
        ({"state": "announced", "publisher": "Ann"}, "Ann (not verified yet)"),
        ({"state": "announced", "publisher": None}, "not verified yet"),
    ],
)
def test_publishers_in_words(entry: dict[str, Any], words: str) -> None:
    assert publisher_in_words(entry) == words
