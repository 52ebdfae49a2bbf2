"""`hive index add`, `remove` and `check`: what an index lists, and whether users can take it."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from rich.text import Text

from hive_expert.cli.index_options import (
    access_of,
    days_option,
    folder,
    json_option,
    keeping_of,
    keys_option,
    mirror_option,
    now,
    signers_of,
    tell,
    tell_lacking,
)
from hive_expert.cli.server_options import one_line
from hive_expert.cli.terminal import HiveCommand, console, note, print_json
from hive_expert.errors import InstallError, Problem, UsageError

ADD_EXAMPLES = """
\b
Examples:
  hive index add experts-index https://example.org/ann/experts.git --key publisher.pem
  hive index add experts-index file:///srv/git/experts.git@0.2.0 --key publisher.pem --days 14
"""


@click.command(cls=HiveCommand, epilog=ADD_EXAMPLES)
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
    keeping = keeping_of(directory)
    entries = keeping.files.entries()
    with console.status("reading the repository"):
        found = entries_of(parsed, access_of(mirror), listed_url=listed_url)
    for entry in found:
        entries = entries.having(entry)
    keeping.publish(entries, signers_of(keys), now=now(), online_days=days)
    tell([f"listed {' '.join(e.key)}" for e in found], [e.key for e in found], as_json)
    tell_lacking(keeping)


REMOVE_EXAMPLES = """
\b
Examples:
  hive index remove experts-index expert-sql@0.1.0 --key publisher.pem
  hive index remove experts-index expert-sql --key publisher.pem
"""


@click.command(cls=HiveCommand, epilog=REMOVE_EXAMPLES)
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
    keeping = keeping_of(directory)
    before = keeping.files.entries()
    after = before.without(parsed.name, parsed.version)
    gone = [e.key for e in before.entries if e not in after.entries]
    if not gone:
        raise InstallError(Problem(name, "is not listed"))
    keeping.publish(after, signers_of(keys), now=now(), online_days=days)
    tell([f"removed {' '.join(key)}" for key in gone], gone, as_json)
    tell_lacking(keeping)


CHECK_EXAMPLES = """
\b
Examples:
  hive index check experts-index
  hive index check experts-index --packages --json
"""


@click.command(cls=HiveCommand, epilog=CHECK_EXAMPLES)
@folder
@click.option("--packages", is_flag=True, help="Fetch every package and compare it with its entry.")
@mirror_option
@json_option
def check(directory: Path, packages: bool, mirror: Path | None, as_json: bool) -> None:
    """Read an index as a user's client would, from its first root on, and say what is wrong, until
    when each of its parts is good, and which of them to renew now."""
    import tempfile

    from hive_expert.sharing.index import FIRST_ROOT
    from hive_expert.sharing.listing import require_packages
    from hive_expert.sharing.metadata import MAX_METADATA_BYTES, renewal, verified_entries

    keeping = keeping_of(directory)
    lacking = keeping.lacking()
    if lacking:
        raise InstallError(
            *(
                Problem(name, f"lacks {n} signatures", "hive index sign")
                for name, n in lacking.items()
            )
        )
    first = keeping.files.read(FIRST_ROOT, MAX_METADATA_BYTES) or b""
    with tempfile.TemporaryDirectory(prefix="hive-index-") as state:
        entries = verified_entries(keeping.files.read, Path(state), first, str(directory))
    if packages:
        with console.status("fetching packages") as status:
            access = access_of(mirror)
            require_packages(entries, access, lambda text: status.update(Text(one_line(text))))
    expiries = {role: when.strftime("%Y-%m-%d") for role, when in keeping.expiries().items()}
    roles = keeping.roles()
    for role in keeping.expiring(now()):
        note(f"{role} expires on {expiries[role]}: {renewal(role)}")
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
