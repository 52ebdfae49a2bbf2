"""`hive check`: a package's claims, measured on this machine."""

from __future__ import annotations

import sys
from typing import Any

import rich_click as click

from hive_expert.cli.check_run import CheckOptions, check_packages, document_of, show_finding
from hive_expert.cli.install_options import directory_option
from hive_expert.cli.terminal import HiveCommand, print_json
from hive_expert.cli.trust_policy import trust_option
from hive_expert.errors import HiveError

EXAMPLES = """
\b
Examples:
  hive check expert-sql
  hive check expert-sql --expert-only --limit 100
  hive check expert-sql --timeout 600          # and again, to go on from there
  hive check expert-sql --url http://127.0.0.1:8000 --json
"""


@click.command("check", cls=HiveCommand, epilog=EXAMPLES)
@click.argument("name", metavar="NAME[@VERSION]")
@directory_option
@click.option("--base", default="smollm2-135m", show_default=True,
              help="The base model to run on, where no server is named.")  # fmt: skip
@click.option("--url", help="Ask this running server. Default: one is started for the check.")
@click.option("--api-key", envvar="HIVE_API_KEY", show_envvar=True, help="Key for that server.")
@click.option("--limit", type=click.IntRange(min=1),
              help="Ask a sample of so many cases, spread over all; the fewer, the wider the "
              "interval that a claim may lie in.")  # fmt: skip
@click.option("--expert-only", is_flag=True,
              help="Leave the base model out, and the claims that compare with it.")  # fmt: skip
@click.option("--max-tokens", default=128, show_default=True, type=click.IntRange(min=1),
              help="Longest answer.")  # fmt: skip
@click.option("--concurrency", default=16, show_default=True, type=click.IntRange(min=1),
              help="Questions asked at once.")  # fmt: skip
@click.option("--timeout", "seconds", default=3600.0, show_default=True,
              type=click.FloatRange(min=1),
              help="Seconds for all of it. What was answered by then is kept, and the next check "
              "goes on from there; so it does after Ctrl-C.")  # fmt: skip
@click.option("--afresh", is_flag=True, help="Ask again what an earlier, unfinished check asked.")
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def check_command(name: str, as_json: bool, **options: Any) -> None:
    """Run the tests inside an expert's package and compare with what its manifest claims.

    The answers come from the engine that serves users, started for the check unless a server is
    named. A claim is *not reproduced* when it lies outside the 95 % interval of what is measured
    here, to its own advantage. The result is shown by `hive list`, by servers and their page, and
    listed by `hive index add`.
    """
    for _, found in check_packages([name], CheckOptions(**options)):
        if isinstance(found, HiveError):
            raise found
        if as_json:
            print_json(document_of(found))
        else:
            show_finding(found)
        if not found.check.reproduced:
            sys.exit(1)
