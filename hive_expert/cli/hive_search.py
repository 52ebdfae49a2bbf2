"""`hive search`: what the indexes in use list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.text import Text

from hive_expert.cli.hive_list import quality_in_words
from hive_expert.cli.install_options import target
from hive_expert.cli.server_options import one_line
from hive_expert.cli.terminal import HiveCommand, console, note, print_json

if TYPE_CHECKING:
    from hive_expert.sharing.entries import Checked

EXAMPLES = """
\b
Examples:
  hive search sql
  hive search database: --base Qwen/Qwen3-0.6B --json
  hive search                                  # everything
"""


@click.command("search", cls=HiveCommand, epilog=EXAMPLES)
@click.argument("words", nargs=-1)
@click.option("--base", default="smollm2-135m", show_default=True, help="Your server's base model.")
@click.option("--all", "everything", is_flag=True, help="Also those for other base models.")
@click.option("--index", help="Look in this index alone.")
@click.option(
    "--mirror",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="HIVE_MIRROR",
    show_envvar=True,
    help="Read repositories from copies in this folder (HOST/PATH), not from the network.",
)
@click.option("--offline", is_flag=True, help="Fetch nothing: use what was fetched before.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def search_command(
    words: tuple[str, ...], base: str, everything: bool, index: str | None, mirror: Path | None,
    offline: bool, as_json: bool,
) -> None:  # fmt: skip
    """Find experts in the indexes in use, by words of their names, descriptions, capabilities.

    The quality is what the publisher claims; `hive check` measures it.
    """
    from hive_expert.sharing.index import listings, used_indexes
    from hive_expert.sharing.listed import fits, search
    from hive_expert.sharing.repository import Access

    if not used_indexes().indexes:
        note("no index is in use: hive index use URL")
    with console.status("reading the indexes") as status:

        def progress(text: str) -> None:
            if text:
                status.update(Text(one_line(text)))

        access = Access(mirror=mirror, offline=offline, progress=progress)
        wanted = target(base, 512)
        found = [
            (name, entry)
            for name, entry in search(listings(index, access), words)
            if everything or fits(entry, wanted)
        ]
    if as_json:
        print_json([{"index": name, **_document(entry)} for name, entry in found])
        return
    for name, entry in found:
        quality = quality_in_words(entry.quality.model_dump() if entry.quality else None)
        if entry.checked:
            quality += f", {_checked(entry.checked)}"
        click.echo(
            f"{entry.name}@{entry.version}\t{entry.model}\t{one_line(entry.publisher or '')}\t"
            f"{quality}\t{one_line(entry.description or '', 60)}\t{name}"
        )
    if not found:
        note("nothing found")


def _checked(found: Checked) -> str:
    """What the index's keeper measured."""
    held = "reproduced" if found.reproduced else "not reproduced"
    of = f"{found.cases} of {found.total}" if found.total else f"{found.cases}"
    return f"{held} by the index ({found.score:.3g} in {of} cases)"


def _document(entry: Any) -> dict[str, Any]:
    return dict(entry.model_dump(mode="json", exclude_none=True))
