"""What the commands that read or keep an index have in common."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from hive_expert.cli.terminal import note, print_json

if TYPE_CHECKING:
    from hive_expert.package.keys import SigningKey
    from hive_expert.sharing.keeper import Keeping
    from hive_expert.sharing.repository import Access

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
mirror_option = click.option(
    "--mirror",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="HIVE_MIRROR",
    show_envvar=True,
    help="Read repositories from copies in this folder (HOST/PATH), not from the network.",
)
folder = click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
existing = click.Path(exists=True, dir_okay=False, path_type=Path)


def keys_option(command: F) -> F:
    return click.option(
        "--key", "keys", type=existing, multiple=True, required=True,
        help="A private key to sign with (hive-build keygen makes one). Repeatable.",
    )(command)  # fmt: skip


def days_option(command: F) -> F:
    return click.option(
        "--days", type=click.IntRange(1, 365), default=30, show_default=True,
        help="For how many days users take it as it is; then it must be renewed (hive index sign).",
    )(command)  # fmt: skip


def keeping_of(directory: Path) -> Keeping:
    """The index in a folder."""
    from hive_expert.sharing.keeper import Keeping

    return Keeping(directory)


def access_of(mirror: Path | None) -> Access:
    """How repositories are reached."""
    from hive_expert.sharing.repository import Access

    return Access(mirror=mirror)


def now() -> datetime:
    """The time that signatures bear."""
    return datetime.now(UTC)


def signers_of(files: tuple[Path, ...]) -> list[SigningKey]:
    """The private keys in files; asks for a passphrase where one has one."""
    import os

    from hive_expert.package.keys import is_encrypted, load_signing_key

    signers = []
    for file in files:
        phrase = os.environ.get("HIVE_KEY_PASSPHRASE") if is_encrypted(file) else None
        if is_encrypted(file) and not phrase:
            phrase = click.prompt(f"passphrase of {file}", hide_input=True, err=True)
        signers.append(load_signing_key(file, phrase))
    return signers


def tell(lines: list[str], result: Any, as_json: bool) -> None:
    """Print a result, for people or for scripts."""
    if as_json:
        print_json(result)
    else:
        for line in lines:
            click.echo(line)


def tell_lacking(keeping: Keeping) -> None:
    """Say what signatures are still missing, and what to do next."""
    lacking = keeping.lacking()
    for name, count in lacking.items():
        note(f"{name} lacks {count} more signatures: hive index sign, by who has the keys")
    if lacking:
        note("push it to users when it is complete: they are refused it as it is")
    else:
        note("commit and push it: users see it then")
