"""What commands say goes where it is read."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from hive_expert.cli import terminal
from hive_expert.errors import Problem, UsageError
from hive_expert.serving.logs import JsonLines


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
    terminal.note("[green]●[/] expert-sql is \\[served]")
    terminal.print_error(UsageError(Problem("--port", "is taken", "choose another"), "and more"))
    lines = [json.loads(line) for line in logged.getvalue().split("\n") if line]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("info", "● expert-sql is [served]"),
        ("error", "--port: is taken (choose another)"),
        ("error", "and more"),
    ]
    assert capsys.readouterr() == ("", "")
