"""How all commands talk: results on stdout, the rest on stderr, errors as problems."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import rich_click as click
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from hive_expert.errors import HiveError

console = Console(stderr=True, highlight=False)
"""For people: notes, progress, errors. Results for scripts go to stdout by `print_json`."""


_log: logging.Logger | None = None


def notes_to(log: logging.Logger) -> None:
    """Have notes and errors logged, where a machine reads what this process says."""
    global _log
    _log = log


def note(message: str) -> None:
    """One line for the person at the terminal."""
    if _log is not None:
        _log.info("%s", Text.from_markup(message).plain)
    else:
        console.print(message)


def print_json(result: Any) -> None:
    """A result for scripts."""
    click.echo(json.dumps(result, indent=2, ensure_ascii=False))


def print_error(error: HiveError) -> None:
    """All problems of an error: where, what, and what to do."""
    for problem in error.problems:
        if _log is not None:
            _log.error("%s", problem)
            continue
        where = f"[bold]{escape(problem.where)}[/]: " if problem.where else ""
        console.print(f"[red]error:[/] {where}{escape(problem.what)}", soft_wrap=True)
        if problem.remedy:
            console.print(f"       [dim]{escape(problem.remedy)}[/]", soft_wrap=True)


class _Reporting:
    """Turns a `HiveError` of any command below into its problems and its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)  # type: ignore[misc]  # mixed into click's commands
        except HiveError as error:
            print_error(error)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            console.print("stopped")
            sys.exit(130)


class HiveCommand(_Reporting, click.RichCommand):
    """A command whose errors are printed as problems."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Print examples as they are written."""
        if self.epilog:
            examples = self.epilog.replace("\b\n", "").rstrip() + "\n"
            formatter.write(Text(examples), soft_wrap=True)


class HiveGroup(_Reporting, click.RichGroup):  # type: ignore[misc]  # rich_click types its two bases unlike click
    """A group of such commands."""

    command_class = HiveCommand
    group_class = type
