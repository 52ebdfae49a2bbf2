"""How all commands talk: results on stdout, the rest on stderr, errors as problems."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rich_click as click
from rich.console import Console
from rich.text import Text

from hive_expert.errors import HiveError

console = Console(stderr=True, highlight=False, markup=False, emoji=False)
"""For people: notes, progress, errors. Results for scripts go to stdout by `print_json`.

What it prints may come from a stranger's file: text is shown as it is written, and colour is given
by rich's `Text`. Of `status` that holds for a `Text` alone; a `str` is markup there.
"""


_log: logging.Logger | None = None


def notes_to(log: logging.Logger) -> None:
    """Have notes and errors logged, where a machine reads what this process says."""
    global _log
    _log = log


def note(message: str | Text) -> None:
    """One line for the person at the terminal."""
    if _log is not None:
        _log.info("%s", message)
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
        where = Text.assemble((problem.where, "bold"), ": ") if problem.where else ""
        line = Text.assemble(("error:", "red"), " ", where, problem.what)
        console.print(line, soft_wrap=True)
        if problem.remedy:
            console.print(Text.assemble("       ", (problem.remedy, "dim")), soft_wrap=True)


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except HiveError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        console.print("stopped")
        sys.exit(130)


class _Reporting:
    """Turns a `HiveError` of any command below into its problems and its exit code."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        # Defaults and callbacks of options read files too: config.toml, and that of --config.
        with _reported():
            context: click.Context = super().make_context(*arguments, **options)  # type: ignore[misc]  # mixed into click's commands
        return context

    def invoke(self, ctx: click.Context) -> Any:
        with _reported():
            return super().invoke(ctx)  # type: ignore[misc]  # as above


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
