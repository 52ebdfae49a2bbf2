"""`--config FILE`: options of a command from a TOML file, such as those in `configs/`.

The file has the names of the options without their dashes (`max-slots = 3`), and the command line
beats it. A name that is no option is refused: a setting that nobody reads helps nobody.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from hive_expert.errors import Problem, UsageError

F = TypeVar("F", bound=Callable[..., Any])

_SECRET = frozenset({"api-key", "admin-key"})


def config_option(command: F) -> F:
    """Give a command the option `--config`."""
    option = click.option(
        "--config",
        is_eager=True,
        expose_value=False,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        callback=_apply,
        help="Options from a TOML file, as in configs/; the command line beats it.",
    )
    return option(command)


def read_options(path: Path, command: click.Command) -> dict[str, Any]:
    """A file's settings by parameter name.

    Raises:
        UsageError: the file is not TOML, or has settings that are no options of the command; all
            of them.
    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(Problem(str(path), f"cannot be read: {error}")) from error
    names = _names(command)
    problems = list(_problems(settings, names, path))
    if problems:
        raise UsageError(*problems)
    return {names[key]: value for key, value in settings.items()}


def _apply(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is not None:
        context.default_map = {**(context.default_map or {}), **read_options(path, context.command)}


def _names(command: click.Command) -> dict[str, str]:
    """Option without dashes → parameter, of the options that a file may hold."""
    return {
        option.removeprefix("--"): parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.expose_value and parameter.name
        for option in parameter.opts
        if option.startswith("--")
    }


def _problems(
    settings: Mapping[str, Any], names: Mapping[str, str], path: Path
) -> Iterator[Problem]:
    for key, value in settings.items():
        where = f"{path}: {key}"
        if key in _SECRET:
            yield Problem(where, "keys do not belong into it", f"use {key}-file")
        elif key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            yield Problem(where, "is no option", f"did you mean {near[0]}?" if near else "")
        elif isinstance(value, dict):
            yield Problem(where, "is a table, not a value")
