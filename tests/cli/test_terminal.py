"""Errors reach a person as problems, wherever in a command they arise."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from hive_expert.cli import hive, serve, terminal
from hive_expert.cli.terminal import note, print_error
from hive_expert.errors import HiveError, Problem, UsageError
from hive_expert.serving.logs import JsonLines


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path))
    monkeypatch.delenv("HIVE_TRUST", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "says"), [("prot = 3", "did you mean port?"), ("port =", "cannot be read")]
)
def test_a_bad_file_of_options_is_wrong_usage(home: Path, text: str, says: str) -> None:
    path = home / "options.toml"
    path.write_text(text)
    line = ["--experts-dir", str(home), "--config", str(path)]
    result = CliRunner().invoke(serve.main, line)
    assert result.exit_code == 2
    assert "options.toml" in result.stderr
    assert says in result.stderr


@pytest.mark.parametrize("text", ["trust = 'never'", "trust ="])
def test_a_bad_configuration_file_is_wrong_usage(home: Path, text: str) -> None:
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text(text)
    for command, line in ((serve.main, []), (hive.main, ["list"])):
        result = CliRunner().invoke(command, [*line, "--experts-dir", str(home)])
        assert result.exit_code == 2, result.output
        assert "config.toml" in result.stderr


STRANGE = "a [/b] [red]word[/] :smile:"


def test_what_a_strangers_file_says_is_shown_as_it_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    note(STRANGE)
    print_error(HiveError(Problem(STRANGE, STRANGE, STRANGE)))
    written = [STRANGE, f"error: {STRANGE}: {STRANGE}", f"       {STRANGE}"]
    assert capsys.readouterr().err.splitlines() == written


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a log of JSON lines gets, once notes go there."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.Logger("hive_expert.cli")
    logger.addHandler(handler)
    monkeypatch.setattr(terminal, "_log", None)
    terminal.notes_to(logger)
    yield stream


def test_notes_and_errors_are_lines_of_the_log(
    logged: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    note("● expert-sql is [served]")
    print_error(UsageError(Problem("--port", "is taken", "choose another"), "and more"))
    lines = [json.loads(line) for line in logged.getvalue().split("\n") if line]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("info", "● expert-sql is [served]"),
        ("error", "--port: is taken (choose another)"),
        ("error", "and more"),
    ]
    assert capsys.readouterr() == ("", "")
