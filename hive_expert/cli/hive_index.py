"""`hive index`: indexes in use, and keeping one of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from hive_expert.cli.server_options import one_line
from hive_expert.cli.terminal import HiveCommand, HiveGroup, console, note, print_json
from hive_expert.errors import InstallError, Problem, UsageError

if TYPE_CHECKING:
    from hive_expert.package.keys import PublicKey, SigningKey
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


@click.group(cls=HiveGroup)
def index() -> None:
    """Indexes of experts: use some, or keep one in a git repository of your own."""


USE_EXAMPLES = """
\b
Examples:
  hive index use https://example.org/experts-index.git
  hive index use https://example.org/experts-index.git --name team
  hive index use file:///srv/mirror/index --root root.json
"""


@index.command(cls=HiveCommand, epilog=USE_EXAMPLES)
@click.argument("url")
@click.option("--name", help="What to call it; by default the last part of the URL.")
@click.option("--fingerprint", help="SHA-256 of its first root metadata, as its keeper told you.")
@click.option("--root", type=existing, help="Its root metadata, as its keeper gave it to you.")
@mirror_option
@json_option
def use(
    url: str, name: str | None, fingerprint: str | None, root: Path | None,
    mirror: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Use an index: `hive search` and `hive install NAME` look there.

    Its keys are not believed because they came with it: the fingerprint, or the root metadata,
    comes from its keeper by another way. From then on keys change only as the old ones say.
    """
    from hive_expert.sharing.index import use_index

    with console.status("fetching the index"):
        called, listing = use_index(
            url, _access(mirror), name=name, fingerprint=fingerprint,
            root=root.read_bytes() if root else None,
        )  # fmt: skip
    if as_json:
        print_json({"name": called, "url": url, "entries": len(listing.entries)})
    else:
        click.echo(f"{called}\t{url}\t{len(listing.entries)} packages")


LIST_EXAMPLES = """
\b
Examples:
  hive index list
  hive index list --json
"""


@index.command("list", cls=HiveCommand, epilog=LIST_EXAMPLES)
@json_option
def list_indexes(as_json: bool) -> None:
    """List the indexes in use."""
    from hive_expert.sharing.index import used_indexes

    known = used_indexes().indexes
    if as_json:
        print_json([{"name": name, "url": u.url, "root": u.root} for name, u in known.items()])
        return
    for name, used in known.items():
        click.echo(f"{name}\t{used.url}\t{used.root[:16]}")
    if not known:
        note("no index is in use: hive index use URL")


FORGET_EXAMPLES = """
\b
Examples:
  hive index forget team
"""


@index.command(cls=HiveCommand, epilog=FORGET_EXAMPLES)
@click.argument("name")
@json_option
def forget(name: str, as_json: bool) -> None:
    """Use an index no longer. What was seen of it is remembered, should you use it again."""
    from hive_expert.sharing.index import save_indexes, used_indexes

    known = dict(used_indexes().indexes)
    if known.pop(name, None) is None:
        raise UsageError(Problem(name, "is no index in use", "hive index list shows them"))
    save_indexes(known)
    if as_json:
        print_json({"name": name})
    else:
        click.echo(f"{name} is no longer in use")


INIT_EXAMPLES = """
\b
Examples:
  hive index init experts-index --key ~/.config/hive/keys/publisher.pem
  hive index init experts-index --key ann.pem --key bo.pem --threshold root=2
  hive index init experts-index --key ann.pem --root ann.pub.json --root bo.pub.json \\
    --threshold root=2 --targets ann.pub.json --online ann.pub.json
"""


@index.command(cls=HiveCommand, epilog=INIT_EXAMPLES)
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

    signers = _signers(keys)
    chosen: dict[str, Sequence[PublicKey]] = {}
    for role, files in (("root", root), ("targets", targets), ("online", online)):
        chosen[role] = [load_public_key(f) for f in files] or [key.public for key in signers]
    fingerprint = _keeping(directory).init(
        chosen, _thresholds(thresholds), signers, now=_now(), online_days=days
    )
    if as_json:
        print_json({"directory": str(directory), "fingerprint": fingerprint})
    else:
        click.echo(f"index        {directory}\nfingerprint  {fingerprint}")


ADD_EXAMPLES = """
\b
Examples:
  hive index add experts-index https://example.org/ann/experts.git --key publisher.pem
  hive index add experts-index file:///srv/git/experts.git@0.2.0 --key publisher.pem --days 14
"""


@index.command(cls=HiveCommand, epilog=ADD_EXAMPLES)
@folder
@click.argument("source")
@keys_option
@click.option("--listed-url", help="The repository's URL for users, where you read a copy of it.")
@mirror_option
@days_option
@json_option
def add(
    directory: Path, source: str, keys: tuple[Path, ...], listed_url: str | None,
    mirror: Path | None, days: int, as_json: bool,
) -> None:  # fmt: skip
    """List the packages of a git repository as they are now: commit, hashes, claims.

    Packages must be sound and signed; whose they are is for every user's own trust store. What
    `hive check` found on this machine is listed beside a package's claims.
    """
    from hive_expert.sharing.listing import entries_of
    from hive_expert.sharing.source import GitSource, parse_source

    parsed = parse_source(source)
    if not isinstance(parsed, GitSource):
        raise UsageError(Problem(source, "is no URL of a git repository", "file:///… is one too"))
    keeping = _keeping(directory)
    entries = keeping.entries()
    with console.status("reading the repository"):
        found = entries_of(parsed, _access(mirror), listed_url=listed_url)
    for entry in found:
        entries = entries.having(entry)
    keeping.publish(entries, _signers(keys), now=_now(), online_days=days)
    _tell([f"listed {' '.join(e.key)}" for e in found], [e.key for e in found], as_json)
    _tell_lacking(keeping)


REMOVE_EXAMPLES = """
\b
Examples:
  hive index remove experts-index expert-sql@0.1.0 --key publisher.pem
  hive index remove experts-index expert-sql --key publisher.pem
"""


@index.command(cls=HiveCommand, epilog=REMOVE_EXAMPLES)
@folder
@click.argument("name", metavar="NAME[@VERSION]")
@keys_option
@days_option
@json_option
def remove(directory: Path, name: str, keys: tuple[Path, ...], days: int, as_json: bool) -> None:
    """List an expert, or one version of it, no longer."""
    from hive_expert.sharing.source import NamedSource, parse_source

    parsed = parse_source(name)
    if not isinstance(parsed, NamedSource):
        raise UsageError(Problem(name, "is no name of an expert"))
    keeping = _keeping(directory)
    before = keeping.entries()
    after = before.without(parsed.name, parsed.version)
    gone = [e.key for e in before.entries if e not in after.entries]
    if not gone:
        raise InstallError(Problem(name, "is not listed"))
    keeping.publish(after, _signers(keys), now=_now(), online_days=days)
    _tell([f"removed {' '.join(key)}" for key in gone], gone, as_json)
    _tell_lacking(keeping)


SIGN_EXAMPLES = """
\b
Examples:
  hive index sign experts-index --key online.pem          # renew it, before it expires
  hive index sign experts-index --key bo.pem              # the second of two signatures
"""


@index.command(cls=HiveCommand, epilog=SIGN_EXAMPLES)
@folder
@keys_option
@days_option
@json_option
def sign(directory: Path, keys: tuple[Path, ...], days: int, as_json: bool) -> None:
    """Add signatures that are missing, and renew the index for some days."""
    keeping = _keeping(directory)
    written = keeping.sign(_signers(keys), now=_now(), online_days=days)
    _tell([f"signed {name}" for name in written], list(written), as_json)
    _tell_lacking(keeping)


ROTATE_EXAMPLES = """
\b
Examples:
  hive index rotate experts-index --role online --add new.pub.json --remove 8b77c1d0 \\
    --key root.pem --key new.pem
  hive index rotate experts-index --role root --add bo.pub.json --threshold 2 \\
    --key root.pem --key bo.pem
"""


@index.command(cls=HiveCommand, epilog=ROTATE_EXAMPLES)
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

    keeping = _keeping(directory)
    version = keeping.rotate(
        role, add=[load_public_key(f) for f in added], remove=removed, threshold=threshold,
        signers=_signers(keys), now=_now(), online_days=days,
    )  # fmt: skip
    _tell([f"root {version}"], version, as_json)
    _tell_lacking(keeping)


CHECK_EXAMPLES = """
\b
Examples:
  hive index check experts-index
  hive index check experts-index --packages --json
"""


@index.command(cls=HiveCommand, epilog=CHECK_EXAMPLES)
@folder
@click.option("--packages", is_flag=True, help="Fetch every package and compare it with its entry.")
@mirror_option
@json_option
def check(directory: Path, packages: bool, mirror: Path | None, as_json: bool) -> None:
    """Read an index as a user's client would, from its first root on, and say what is wrong."""
    import tempfile

    from hive_expert.sharing.index import FIRST_ROOT
    from hive_expert.sharing.listing import require_packages
    from hive_expert.sharing.metadata import MAX_METADATA_BYTES, verified_entries

    keeping = _keeping(directory)
    lacking = keeping.lacking()
    if lacking:
        raise InstallError(
            *(
                Problem(name, f"lacks {n} signatures", "hive index sign")
                for name, n in lacking.items()
            )
        )
    first = keeping.read(FIRST_ROOT, MAX_METADATA_BYTES) or b""
    with tempfile.TemporaryDirectory(prefix="hive-index-") as state:
        entries = verified_entries(keeping.read, Path(state), first, str(directory))
    if packages:
        with console.status("fetching packages") as status:
            require_packages(entries, _access(mirror), lambda text: status.update(one_line(text)))
    expiries = {role: when.strftime("%Y-%m-%d") for role, when in keeping.expiries().items()}
    roles = keeping.roles()
    if as_json:
        print_json(
            {
                "entries": [list(entry.key) for entry in entries.entries],
                "expires": expiries,
                "roles": {r: {"threshold": n, "keys": list(k)} for r, (n, k) in roles.items()},
            }
        )
        return
    for role, (threshold, keys) in roles.items():
        click.echo(f"{role}\t{threshold} of {len(keys)}\t{', '.join(k[:16] for k in keys)}")
    for role, day in expiries.items():
        click.echo(f"{role}\tuntil {day}")
    click.echo(f"{len(entries.entries)} packages, all verified")


def _keeping(directory: Path) -> Keeping:
    from hive_expert.sharing.keeper import Keeping

    return Keeping(directory)


def _access(mirror: Path | None) -> Access:
    from hive_expert.sharing.repository import Access

    return Access(mirror=mirror)


def _now() -> datetime:
    return datetime.now(UTC)


def _signers(files: tuple[Path, ...]) -> list[SigningKey]:
    import os

    from hive_expert.package.keys import is_encrypted, load_signing_key

    signers = []
    for file in files:
        phrase = os.environ.get("HIVE_KEY_PASSPHRASE") if is_encrypted(file) else None
        if is_encrypted(file) and not phrase:
            phrase = click.prompt(f"passphrase of {file}", hide_input=True, err=True)
        signers.append(load_signing_key(file, phrase))
    return signers


def _thresholds(texts: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for text in texts:
        role, equals, number = text.partition("=")
        if role not in ("root", "targets", "online") or not equals or not number.isdigit():
            raise UsageError(Problem("--threshold", f"{text!r} is not like root=2"))
        found[role] = int(number)
    return found


def _tell(lines: list[str], result: Any, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        for line in lines:
            click.echo(line)


def _tell_lacking(keeping: Keeping) -> None:
    for name, count in keeping.lacking().items():
        note(f"{name} lacks {count} more signatures: hive index sign, by who has the keys")
    note("commit and push it: users see it then")
