"""`python -m tests.e2e.prompt_bound`: the counted run."""

from __future__ import annotations

import asyncio
import json
import sys

import rich_click as click

from tests.e2e.counted import counted_server
from tests.e2e.prompt_bound.run import run


@click.command()
@click.option("--count", default=200, show_default=True, help="JSON Schemas.")
@click.option("--sql-count", default=60, show_default=True, help="Database schemas.")
@click.option("--seed", default=0, show_default=True)
@click.option("--minutes", default=120.0, show_default=True, help="At most, about.")
@click.option("--url", help="A server that runs, in fp32; by default one is started.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON on the last line.")
def main(
    count: int, sql_count: int, seed: int, minutes: float, url: str | None, as_json: bool
) -> None:
    """Count how many answers keep to the schema of their own prompt.

    The exit status is 1 if one does not, or a hostile schema harms the server or its neighbours.

    \b
    Examples:
      python -m tests.e2e.prompt_bound --count 200 --sql-count 60 --json
      python -m tests.e2e.prompt_bound --count 20 --url http://127.0.0.1:8000
    """
    with counted_server(url) as server:
        counted = asyncio.run(
            run(server, json_count=count, sql_count=sql_count, seed=seed, seconds=60 * minutes)
        )
    for line in counted.wrong:
        click.echo(line, err=True)
    click.echo(json.dumps(counted.figures, indent=None if as_json else 2))
    sys.exit(bool(counted.wrong))


if __name__ == "__main__":
    main()
