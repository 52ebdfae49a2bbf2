"""The trust policy a command runs under: `--trust`, else HIVE_TRUST, else the configuration file.

The file is `config.toml` in the user's configuration folder, with a line like `trust = "warn"`.
SPEC section 5.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

from hive_expert import locations
from hive_expert.errors import Problem, UsageError

CHOICES = ("enforce", "warn", "off")

F = TypeVar("F", bound=Callable[..., Any])


def configured_policy() -> str:
    """The policy of the configuration file; `enforce` where it has none.

    Raises UsageError for a file or value that cannot be understood: never fall back silently.
    """
    path = locations.config_dir() / "config.toml"
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "enforce"
    except (OSError, ValueError) as exc:
        raise UsageError(Problem(str(path), f"cannot be read: {exc}")) from exc
    policy = settings.get("trust", "enforce")
    if policy not in CHOICES:
        raise UsageError(
            Problem(f"{path}: trust", f"{policy!r} is not one of {', '.join(CHOICES)}")
        )
    return str(policy)


def trust_option(command: F) -> F:
    """Give a command the option `--trust`."""
    option = click.option(
        "--trust",
        type=click.Choice(CHOICES),
        default=configured_policy,
        envvar="HIVE_TRUST",
        show_default="enforce",
        help="What to do about packages whose publisher you do not trust.",
    )
    return option(command)
