"""Errors reach a person as problems, wherever in a command they arise."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from hive_expert.cli import hive, serve
from hive_expert.cli.terminal import note, print_error
from hive_expert.errors import HiveError, Problem


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
