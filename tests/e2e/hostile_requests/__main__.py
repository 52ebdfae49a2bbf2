"""`python -m tests.e2e.hostile_requests`: the counted run."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import rich_click as click

from tests.e2e.counted import counted_server
from tests.e2e.hostile_requests.run import figures, run
from tests.e2e.tally import Tally


@click.command()
@click.option("--grammars", type=int, help="So many structures, from everywhere; by default all.")
@click.option("--bodies", type=int, help="So many bodies, from everywhere; by default all.")
@click.option("--minutes", default=60.0, show_default=True, help="At most.")
@click.option("--url", help="A server that runs, in fp32; by default one is started.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of results; what it has already is not sent again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON on the last line.")
def main(
    grammars: int | None,
    bodies: int | None,
    minutes: float,
    url: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Send hostile grammars, schemas, expressions and bodies beside neighbours who ask greedily.

    The exit status is 1 if the server answers one with an error of its own, or not at all, or a
    neighbour's tokens change.

    \b
    Examples:
      python -m tests.e2e.hostile_requests --json
      python -m tests.e2e.hostile_requests --grammars 50 --bodies 50
      python -m tests.e2e.hostile_requests --minutes 8 --output hostile.json  # and again
    """
    tally = Tally.begin(output)
    with counted_server(url) as server:
        asyncio.run(
            run(
                server,
                structure_count=grammars,
                body_count=bodies,
                seconds=60 * minutes,
                tally=tally,
            )
        )
    wrong = list(tally.wrong())
    for line in wrong:
        click.echo(line, err=True)
    told = figures(tally) | {"neighbours": tally.neighbours}
    click.echo(json.dumps(told, indent=None if as_json else 2))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
