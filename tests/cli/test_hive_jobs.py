"""`hive jobs`, as a shell sees it, against a server of jobs in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from jobs_crash_subjects import FakeServer
from jobs_deaths import doomed

from hive_expert.cli.hive import main
from tests.jobs.conftest import jsonl, line

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with doomed(FakeServer(tmp_path_factory.mktemp("server")).server()) as server:
        yield server.url


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HIVE_URL", url)

    def invoke(*arguments: object, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(main, ["jobs", *map(str, arguments)])
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(jsonl([line("a", "hello"), line("b", "refuse this")]))
    return path


def submitted(run: Run, path: Path, *more: str, exit_code: int = 0) -> dict[str, Any]:
    result = run("submit", path, "--json", *more, exit_code=exit_code)
    batch: dict[str, Any] = json.loads(result.stdout)
    return batch


def test_a_file_is_answered_while_one_waits(run: Run, requests: Path, tmp_path: Path) -> None:
    batch = submitted(run, requests, "--wait", "--metadata", "team=search", exit_code=1)
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    output, errors = tmp_path / "out.jsonl", tmp_path / "errors.jsonl"
    shown = run("show", batch["id"], "--output", output, "--errors", errors)
    assert "1 done, 1 failed, of 2" in shown.stdout
    assert json.loads(output.read_text())["custom_id"] == "a"
    assert json.loads(errors.read_text())["custom_id"] == "b"
    assert batch["id"] in run("list").stdout
    found = json.loads(run("list", "--state", "completed", "--json").stdout)
    assert batch["id"] in [each["id"] for each in found]


def test_what_failed_is_asked_again(run: Run, requests: Path) -> None:
    batch = submitted(run, requests, "--wait", exit_code=1)
    again = json.loads(run("retry", batch["id"], "--wait", "--json", exit_code=1).stdout)
    assert again["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
    assert again["metadata"]["retry_of"] == batch["id"]


def test_a_broken_file_is_told_by_line(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_bytes(jsonl([line("a", "x")]) + b"{\n")
    shown = run("submit", path, "--wait", exit_code=1).stdout
    assert "line 2: " in shown and "invalid_json_line" in shown


def test_cancel_watch_and_prune(run: Run, requests: Path) -> None:
    batch = submitted(run, requests)
    run("watch", batch["id"], exit_code=1)
    assert batch["id"] in run("cancel", batch["id"]).stdout
    assert batch["id"] in run("prune", "--older-than", "0m", "--dry-run").stdout
    run("prune", "--older-than", "0m", "--inputs")
    assert json.loads(run("list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "batch_none"), 1),
        (("prune", "--older-than", "long"), 2),
        (("submit", "no-such-file"), 2),
    ],
)
def test_what_cannot_be_done_is_said(run: Run, arguments: tuple[str, ...], code: int) -> None:
    run(*arguments, exit_code=code)


def test_without_a_server_the_remedy_is_told() -> None:
    result = CliRunner().invoke(main, ["jobs", "list", "--url", "http://127.0.0.1:9"])
    assert result.exit_code == 1
    assert "hive-serve" in result.output
