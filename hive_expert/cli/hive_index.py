"""`hive index`: indexes in use, and keeping one of one's own."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from hive_expert.cli.index_entries import add, check, remove
from hive_expert.cli.index_keys import init, rotate, sign
from hive_expert.cli.index_options import access_of, existing, json_option, mirror_option
from hive_expert.cli.terminal import HiveCommand, HiveGroup, console, note, print_json
from hive_expert.errors import Problem, UsageError


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
            url, access_of(mirror), name=name, fingerprint=fingerprint,
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


for keeping in (init, add, remove, sign, rotate, check):
    index.add_command(keeping)
