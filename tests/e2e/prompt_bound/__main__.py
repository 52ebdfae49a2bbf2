"""`python -m tests.e2e.prompt_bound`: the counted run."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import rich_click as click

from tests.e2e.counted import counted_server
from tests.e2e.prompt_bound.figures import figures
from tests.e2e.prompt_bound.run import run
from tests.e2e.tally import Tally


@click.command()
@click.option("--count", default=200, show_default=True, help="JSON Schemas.")
@click.option("--sql-count", default=60, show_default=True, help="Database schemas.")
@click.option("--seed", default=0, show_default=True)
@click.option("--minutes", default=120.0, show_default=True, help="At most, about.")
@click.option("--url", help="A server that runs, in fp32; by default one is started.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of results; what it has already is not asked again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON on the last line.")
def main(
    count: int,
    sql_count: int,
    seed: int,
    minutes: float,
    url: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Count how many answers keep to the schema of their own prompt.

    The exit status is 1 if one does not, or a hostile schema harms the server or its neighbours.

    \b
    Examples:
      python -m tests.e2e.prompt_bound --count 200 --sql-count 60 --json
      python -m tests.e2e.prompt_bound --count 20 --url http://127.0.0.1:8000
      python -m tests.e2e.prompt_bound --minutes 8 --output prompt_bound.json  # and again
    """
    tally = Tally.begin(output)
    with counted_server(url) as server:
        asyncio.run(
            run(
                server,
                json_count=count,
                sql_count=sql_count,
                seed=seed,
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
