"""`hive-serve`'s options about who may reach it, and how much each may ask for."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.text import Text

from hive_expert.cli.option_group import option_group
from hive_expert.cli.terminal import note
from hive_expert.errors import Problem, UsageError

if TYPE_CHECKING:
    from hive_expert.serving.agents import AgentsSource
    from hive_expert.serving.auth import KeySources
    from hive_expert.serving.guard import DoorSettings
    from hive_expert.serving.limits import RequestLimits

LOOPBACK = ("127.0.0.1", "::1", "localhost")

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """What these options say."""

    api_key: tuple[str, ...]
    api_key_file: tuple[Path, ...]
    admin_key: tuple[str, ...]
    admin_key_file: tuple[Path, ...]
    allow_anyone: bool
    allow_origin: tuple[str, ...]
    max_waiting: int
    max_per_key: int | None
    max_body_mib: int
    max_n: int
    max_logprobs: int
    max_stops: int
    max_prompt_tokens: int | None


def _number(name: str, default: int | None, low: int, text: str) -> Any:
    shown: dict[str, Any] = {} if default is None else {"default": default, "show_default": True}
    return click.option(name, type=click.IntRange(min=low), help=text, **shown)


_OPTIONS = (
    click.option(
        "--api-key-file",
        multiple=True,
        type=_FILE,
        help="Keys that may ask models, one a line as KEY or TENANT KEY. Read anew on SIGHUP. "
        "Repeatable.",
    ),
    click.option(
        "--admin-key-file",
        multiple=True,
        type=_FILE,
        help="Keys that may also load, unload and pin experts; same form. Repeatable.",
    ),
    click.option(
        "--api-key",
        multiple=True,
        help="One key as a value, or in HIVE_API_KEY: other users of the machine may see the "
        "command line. Repeatable.",
    ),
    click.option(
        "--admin-key",
        multiple=True,
        help="One admin key as a value, or in HIVE_ADMIN_KEY. Repeatable.",
    ),
    click.option(
        "--allow-anyone",
        is_flag=True,
        help="Listen beyond this machine without --api-key: everyone who reaches it may ask.",
    ),
    click.option(
        "--allow-origin",
        multiple=True,
        help="A site, as https://chat.example.org, whose pages may call the server from a browser. "
        "Repeatable.",
    ),
    _number(
        "--max-waiting",
        256,
        0,
        "Requests that wait beyond --max-num-seqs; more get 503 with Retry-After.",
    ),
    _number("--max-per-key", None, 1, "Requests of one tenant at once; more get 429."),
    _number("--max-body-mib", 4, 1, "Size of a request, MiB."),
    _number("--max-prompt-tokens", None, 1, "Tokens of a prompt; default: the context."),
    _number("--max-n", 16, 1, "Answers to one request: n, times its prompts."),
    _number("--max-logprobs", 20, 0, "Alternatives a request may ask for each token."),
    click.option(
        "--max-stops",
        type=click.IntRange(0, 4),
        default=4,
        show_default=True,
        help="Stop sequences of one request.",
    ),
)


access_options = option_group(AccessOptions, "access", _OPTIONS)
"""Gives a command these options; it gets them as `access`."""


def door_settings(
    host: str, max_num_seqs: int, access: AccessOptions, agents: AgentsSource | None = None
) -> DoorSettings:
    """Who gets in and how many, once the keys have been read for a check.

    Raises:
        UsageError: keys that cannot be used, or none where everyone could reach the server.
    """
    from hive_expert.serving.agents import AgentsSource
    from hive_expert.serving.body import BodyLimits
    from hive_expert.serving.front_link import link_settings
    from hive_expert.serving.guard import DoorSettings
    from hive_expert.serving.traffic import TrafficLimits

    return DoorSettings(
        keys=_key_sources(host, access),
        local=host in LOOPBACK,
        traffic=TrafficLimits(max_num_seqs, access.max_waiting, access.max_per_key),
        body=BodyLimits(access.max_body_mib * 2**20),
        agents=agents or AgentsSource(),
        origins=frozenset(origin.rstrip("/").lower() for origin in access.allow_origin),
        link=link_settings(),
    )


def request_limits(access: AccessOptions) -> RequestLimits:
    """What one request may ask for."""
    from hive_expert.serving.limits import RequestLimits

    return RequestLimits(
        choices=access.max_n,
        logprobs=access.max_logprobs,
        stops=access.max_stops,
        prompt_tokens=access.max_prompt_tokens,
    )


def _key_sources(host: str, access: AccessOptions) -> KeySources:
    from hive_expert.serving.auth import KeySources

    sources = KeySources(
        access.api_key or _from_environment("HIVE_API_KEY"),
        access.api_key_file,
        access.admin_key or _from_environment("HIVE_ADMIN_KEY"),
        access.admin_key_file,
    )
    keys = sources.load(local=host in LOOPBACK)
    if not keys.local and not keys.inference:
        if not access.allow_anyone:
            raise UsageError(
                Problem(
                    "--host",
                    f"{host} may be reached from other machines, and there is no key",
                    "give --api-key-file (openssl rand -hex 32 makes a key), or --allow-anyone",
                )
            )
        told = f"listening on {host} without keys: everyone who reaches it may use it"
        note(Text(told, "yellow"))
    for path in (*access.api_key_file, *access.admin_key_file):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            note(Text(f"{path} can be read by other users: chmod 600 {path}", "yellow"))
    return sources


def _from_environment(name: str) -> tuple[str, ...]:
    """Keys in an environment variable, one a line; programs that we start do not inherit it."""
    value = os.environ.pop(name, "")
    return (value,) if value.strip() else ()
