"""Options of the commands that talk to a running server, and what of it may reach a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

F = TypeVar("F", bound=Callable[..., Any])


def server_options(command: F) -> F:
    """Give a command `--url` and `--api-key`."""
    for option in (
        click.option(
            "--api-key",
            envvar="HIVE_API_KEY",
            show_envvar=True,
            help="Key for the server, if it asks for one.",
        ),
        click.option(
            "--url",
            envvar="HIVE_URL",
            show_envvar=True,
            help="Root of a running server, such as http://127.0.0.1:8000.",
        ),
    ):
        command = option(command)
    return command


def printable(text: str) -> str:
    """Text of others, without what a terminal takes for a command."""
    kept = (c if c.isprintable() or c in "\n\t" else " " if c.isspace() else "" for c in text)
    return "".join(kept)


def one_line(text: str, width: int = 80) -> str:
    """The start of a text on one line."""
    line = " ".join(printable(text).split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
