"""`hive index init`, `sign` and `rotate`: who may say what an index lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hive_expert.cli.index_options import (
    days_option,
    existing,
    folder,
    json_option,
    keeping_of,
    keys_option,
    now,
    signers_of,
    tell,
    tell_lacking,
)
from hive_expert.cli.terminal import HiveCommand, print_json
from hive_expert.errors import Problem, UsageError

if TYPE_CHECKING:
    from hive_expert.package.keys import PublicKey

INIT_EXAMPLES = """
\b
Examples:
  hive index init experts-index --key ~/.config/hive/keys/publisher.pem
  hive index init experts-index --key ann.pem --key bo.pem --threshold root=2
  hive index init experts-index --key ann.pem --root ann.pub.json --root bo.pub.json \\
    --threshold root=2 --targets ann.pub.json --online ann.pub.json
"""


@click.command(cls=HiveCommand, epilog=INIT_EXAMPLES)
@folder
@keys_option
@click.option(
    "--root", type=existing, multiple=True,
    help="Public key (.pub.json) that may change keys. Default: those of --key.",
)  # fmt: skip
@click.option(
    "--targets", type=existing, multiple=True,
    help="Public key that may say what is listed. Default: those of --key.",
)  # fmt: skip
@click.option(
    "--online", type=existing, multiple=True,
    help="Public key that renews the index. Default: those of --key.",
)  # fmt: skip
@click.option("--threshold", "thresholds", multiple=True, metavar="ROLE=N",
              help="How many keys must sign for root, targets or online. Repeatable.")  # fmt: skip
@days_option
@json_option
def init(
    directory: Path, keys: tuple[Path, ...], root: tuple[Path, ...], targets: tuple[Path, ...],
    online: tuple[Path, ...], thresholds: tuple[str, ...], days: int, as_json: bool,
) -> None:  # fmt: skip
    """Make an empty index in a folder; commit and push it with git.

    Prints the fingerprint that users begin with: publish it where they believe you.
    """
    from hive_expert.package.keys import load_public_key

    signers = signers_of(keys)
    chosen: dict[str, Sequence[PublicKey]] = {}
    for role, files in (("root", root), ("targets", targets), ("online", online)):
        chosen[role] = [load_public_key(f) for f in files] or [key.public for key in signers]
    fingerprint = keeping_of(directory).init(
        chosen, _thresholds(thresholds), signers, now=now(), online_days=days
    )
    if as_json:
        print_json({"directory": str(directory), "fingerprint": fingerprint})
    else:
        click.echo(f"index        {directory}\nfingerprint  {fingerprint}")


SIGN_EXAMPLES = """
\b
Examples:
  hive index sign experts-index --key online.pem          # renew it, before its 30 days are over
  hive index sign experts-index --key root.pem --key targets.pem --key online.pem  # and its year
  hive index sign experts-index --key bo.pem              # the second of two signatures
"""


@click.command(cls=HiveCommand, epilog=SIGN_EXAMPLES)
@folder
@keys_option
@days_option
@json_option
def sign(directory: Path, keys: tuple[Path, ...], days: int, as_json: bool) -> None:
    """Add signatures that are missing, and renew the index for some days.

    Who may change keys, and what is listed, are good for a year. In its last 90 days this renews
    them as well, with a root key, and with a targets key and the online key.
    """
    keeping = keeping_of(directory)
    written = keeping.sign(signers_of(keys), now=now(), online_days=days)
    tell([f"signed {name}" for name in written], list(written), as_json)
    tell_lacking(keeping)


ROTATE_EXAMPLES = """
\b
Examples:
  hive index rotate experts-index --role online --add new.pub.json --remove 8b77c1d0 \\
    --key root.pem --key new.pem
  hive index rotate experts-index --role root --add bo.pub.json --threshold 2 \\
    --key root.pem --key bo.pem
"""


@click.command(cls=HiveCommand, epilog=ROTATE_EXAMPLES)
@folder
@click.option("--role", type=click.Choice(("root", "targets", "online")), required=True,
              help="Whose keys to change.")  # fmt: skip
@click.option("--add", "added", type=existing, multiple=True, help="Public key that comes.")
@click.option("--remove", "removed", multiple=True, help="Key id that goes, or the start of it.")
@click.option("--threshold", type=click.IntRange(min=1), help="How many must sign from now on.")
@keys_option
@days_option
@json_option
def rotate(
    directory: Path, role: str, added: tuple[Path, ...], removed: tuple[str, ...],
    threshold: int | None, keys: tuple[Path, ...], days: int, as_json: bool,
) -> None:  # fmt: skip
    """Change the keys of a role. Users follow: the old root keys sign the new root."""
    from hive_expert.package.keys import load_public_key

    keeping = keeping_of(directory)
    version = keeping.rotate(
        role, add=[load_public_key(f) for f in added], remove=removed, threshold=threshold,
        signers=signers_of(keys), now=now(), online_days=days,
    )  # fmt: skip
    tell([f"root {version}"], version, as_json)
    tell_lacking(keeping)


def _thresholds(texts: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for text in texts:
        role, equals, number = text.partition("=")
        if role not in ("root", "targets", "online") or not equals or not number.isdigit():
            raise UsageError(Problem("--threshold", f"{text!r} is not like root=2"))
        found[role] = int(number)
    return found
