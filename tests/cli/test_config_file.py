"""Options from a file: the command line beats them, and nothing in it is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
import rich_click as click
from click.testing import CliRunner

from hive_expert.cli.config_file import config_option, read_options
from hive_expert.errors import UsageError


@click.command()
@config_option
@click.option("--port", type=click.IntRange(1, 10), default=8)
@click.option("--pin", "pins", multiple=True)
@click.option("--api-key-file", multiple=True)
@click.option("--verbose", is_flag=True)
def command(port: int, pins: tuple[str, ...], api_key_file: tuple[str, ...], verbose: bool) -> None:
    click.echo(f"{port} {','.join(pins)} {verbose}")


def run(tmp_path: Path, text: str, *arguments: str) -> str:
    path = tmp_path / "options.toml"
    path.write_text(text)
    return CliRunner().invoke(command, ["--config", str(path), *arguments]).output.strip()


def test_the_file_sets_defaults(tmp_path: Path) -> None:
    assert run(tmp_path, 'port = 3\npin = ["a", "b"]\nverbose = true') == "3 a,b True"


def test_the_command_line_beats_it(tmp_path: Path) -> None:
    assert run(tmp_path, "port = 3", "--port", "4") == "4  False"


def test_a_value_is_checked_as_on_the_command_line(tmp_path: Path) -> None:
    assert "1<=x<=10" in run(tmp_path, "port = 30")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 3", "did you mean port?"),
        ("[server]\nport = 3", "is no option"),
        ("[port]\nx = 3", "is a table"),
        ('config = "other.toml"', "is no option"),
        ('api-key = "secret"', "use api-key-file"),
        ("port = ", "cannot be read"),
    ],
)
def test_what_would_be_passed_over_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "options.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_options(path, command)
    assert says in str(caught.value)


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "options.toml"
    path.write_text("prot = 3\nverbos = true\n")
    with pytest.raises(UsageError) as caught:
        read_options(path, command)
    assert len(caught.value.problems) == 2
