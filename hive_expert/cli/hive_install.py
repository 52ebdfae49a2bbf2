"""`hive install`, `update` and `uninstall`: what is in the experts directory."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.text import Text

from hive_expert.cli.install_options import (
    directory_option,
    outcome_document,
    show,
    site,
    site_options,
)
from hive_expert.cli.terminal import HiveCommand, note, print_error, print_json
from hive_expert.errors import HiveError, Problem, UsageError

if TYPE_CHECKING:
    from hive_expert.sharing.install import Outcome

INSTALL_EXAMPLES = """
\b
Examples:
  hive install https://example.org/ann/experts.git
  hive install https://example.org/ann/experts.git --only expert-sql
  hive install expert-sql                          # from an index in use
  hive install expert-sql@0.1.0 --pin              # this version, and stay there
  hive install ./expert-sql-smollm2-135m.v0.1.0.expert --dry-run
  hive install --locked                            # exactly what experts.lock.json names
"""


@click.command("install", cls=HiveCommand, epilog=INSTALL_EXAMPLES)
@click.argument("sources", metavar="[URL|PATH|NAME][@VERSION]...", nargs=-1)
@click.option("--only", multiple=True, metavar="NAME",
              help="Of repositories and folders with several experts, take this one. "
              "Repeatable.")  # fmt: skip
@click.option("--locked", is_flag=True, help="Install what experts.lock.json names, to the byte.")
@click.option("--pin", is_flag=True, help="Hold to this version; also the way back to an older.")
@click.option("--index", help="Look names up in this index alone.")
@click.option("--check", "and_check", is_flag=True,
              help="Then run the tests inside them, as hive check does. What is not reproduced "
              "stays installed; the command exits with 1.")  # fmt: skip
@click.option("--check-limit", type=click.IntRange(min=1),
              help="With --check: ask a sample of so many cases of each.")  # fmt: skip
@site_options
def install_command(
    sources: tuple[str, ...], only: tuple[str, ...], locked: bool, pin: bool, index: str | None,
    and_check: bool, check_limit: int | None, dry_run: bool, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Install experts from git repositories, files, or an index, with what they require.

    A repository is fetched without running anything of it, its packages are verified as for
    serving, and everything comes into the folder at once or not at all. A running hive-serve
    picks it up.
    """
    from hive_expert.sharing.install import install, install_locked
    from hive_expert.sharing.source import parse_source

    if locked == bool(sources):
        raise UsageError(Problem("SOURCE", "give a URL, path or name, or --locked alone"))
    if locked and (pin or index or only):
        raise UsageError(Problem("--locked", "goes with none of --pin, --index and --only"))
    if and_check and dry_run:
        what = "goes with no --dry-run: what is not installed cannot be asked"
        raise UsageError(Problem("--check", what))
    if check_limit and not and_check:
        raise UsageError(Problem("--check-limit", "goes with --check"))
    parsed = _all_parsed(sources, parse_source)
    with site(**options) as where:
        if locked:
            outcome = install_locked(where, dry_run=dry_run)
        else:
            outcome = install(parsed, where, pin=pin, index=index, only=only, dry_run=dry_run)
    if not and_check:
        show(outcome, dry_run=dry_run, as_json=as_json)
    elif not _checked(outcome, check_limit, options, as_json):
        sys.exit(1)


def _checked(
    outcome: Outcome, limit: int | None, options: Mapping[str, Any], as_json: bool
) -> bool:
    """Print what was installed, then check it; whether all claims hold."""
    from hive_expert.cli.check_run import CheckOptions, check_packages, document_of, show_finding

    if not as_json:
        show(outcome, dry_run=False, as_json=False)
    chosen = CheckOptions(options["experts_dir"], options["base"], options["trust"], limit=limit)
    names = [f"{step.name}@{step.after}" for step in outcome.steps]
    documents: list[dict[str, Any]] = []
    held = True
    for name, found in check_packages(names, chosen):
        if isinstance(found, HiveError):
            held = False
            print_error(found)
            problems = [str(problem) for problem in found.problems]
            documents.append({"model": name, "reproduced": None, "problems": problems})
            continue
        held = held and found.check.reproduced
        documents.append(document_of(found))
        if not as_json:
            show_finding(found)
    if as_json:
        print_json(outcome_document(outcome, dry_run=False) | {"checks": documents})
    return held


UPDATE_EXAMPLES = """
\b
Examples:
  hive update
  hive update expert-sql --dry-run
"""


@click.command("update", cls=HiveCommand, epilog=UPDATE_EXAMPLES)
@click.argument("names", nargs=-1)
@site_options
def update_command(names: tuple[str, ...], dry_run: bool, as_json: bool, **options: Any) -> None:
    """Install what the sources of installed experts have now.

    Pinned ones stay. One whose source cannot be had, or goes back, stays as it is and is reported.
    """
    from hive_expert.sharing.install import update

    with site(**options) as where:
        outcome = update(names, where, dry_run=dry_run)
    show(outcome, dry_run=dry_run, as_json=as_json)
    if outcome.failed:
        for name, problems in outcome.failed.items():
            note(Text.assemble((name, "bold"), " is not updated"))
            print_error(HiveError(*problems))
        sys.exit(1)


UNINSTALL_EXAMPLES = """
\b
Examples:
  hive uninstall expert-sql
  hive uninstall expert-sql expert-json --dry-run
"""


@click.command("uninstall", cls=HiveCommand, epilog=UNINSTALL_EXAMPLES)
@click.argument("names", nargs=-1, required=True)
@directory_option
@click.option("--dry-run", is_flag=True, help="Say what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def uninstall_command(names: tuple[str, ...], dry_run: bool, as_json: bool, **options: Any) -> None:
    """Remove installed experts. What trust remembers of their versions stays."""
    from hive_expert.sharing.install import uninstall

    rules: dict[str, Any] = {"base": "smollm2-135m", "max_rank": 16, "trust": "enforce"}
    rules |= {"mirror": None, "offline": True, "max_mib": 1, "seconds": 1.0}
    with site(**options, **rules) as where:
        outcome = uninstall(list(dict.fromkeys(names)), where, dry_run=dry_run)
    show(outcome, dry_run=dry_run, as_json=as_json)


def _all_parsed(texts: tuple[str, ...], parse: Any) -> list[Any]:
    """Every source parsed, or all that is wrong with any of them."""
    parsed: list[Any] = []
    problems: list[Problem] = []
    for text in texts:
        try:
            parsed.append(parse(text))
        except HiveError as error:
            problems += error.problems
    if problems:
        raise UsageError(*problems)
    return parsed
