"""What the commands that change an experts directory have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click
from rich.text import Text

from hive_expert import locations
from hive_expert.cli.server_options import one_line
from hive_expert.cli.terminal import console, note, print_json
from hive_expert.cli.trust_policy import trust_option

if TYPE_CHECKING:
    from hive_expert.sharing.compatibility import Target
    from hive_expert.sharing.install import Outcome, Site

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_DIRECTORY = Path("experts.d")
QUIET = ("keep",)


def directory_option(command: F) -> F:
    return click.option(
        "--experts-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=DEFAULT_DIRECTORY,
        show_default=True,
        help="The folder that hive-serve serves; experts.lock.json lies in it.",
    )(command)


def site_options(command: F) -> F:
    """Options that say where packages go, what they must fit, and what a fetch may take."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        click.option("--dry-run", is_flag=True, help="Fetch and check everything, change nothing."),
        click.option(
            "--timeout", "seconds", type=click.FloatRange(min=1), default=3600.0,
            show_default=True, help="Seconds that one fetch may take.",
        ),
        click.option(
            "--max-mib", type=click.IntRange(min=1), default=8192, show_default=True,
            help="Largest repository, in MiB on the disk.",
        ),
        click.option(
            "--offline", is_flag=True, help="Fetch nothing: use what was fetched before."
        ),
        click.option(
            "--mirror", type=click.Path(exists=True, file_okay=False, path_type=Path),
            envvar="HIVE_MIRROR", show_envvar=True,
            help="Read repositories from copies in this folder (HOST/PATH), not from the network.",
        ),
        click.option(
            "--max-rank", type=click.IntRange(1, 512), default=16, show_default=True,
            help="Largest adapter rank that your server takes.",
        ),
        click.option(
            "--base", default="smollm2-135m", show_default=True,
            help="The base model that your server serves.",
        ),
        trust_option,
        directory_option,
    ):  # fmt: skip
        command = option(command)
    return command


@contextmanager
def site(
    *, experts_dir: Path, base: str, max_rank: int, trust: str, mirror: Path | None,
    offline: bool, max_mib: int, seconds: float, **_: Any,
) -> Iterator[Site]:  # fmt: skip
    """The experts directory and its rules, with progress on stderr."""
    from hive_expert.package.trust import Policy, TrustStore
    from hive_expert.sharing.index import listings
    from hive_expert.sharing.install import Site
    from hive_expert.sharing.limits import Limits
    from hive_expert.sharing.repository import Access

    with console.status("looking") as status:

        def progress(text: str) -> None:
            if text:
                status.update(Text(one_line(text)))

        access = Access(mirror, offline, Limits(seconds=seconds, bytes=max_mib << 20), progress)
        yield Site(
            directory=experts_dir,
            target=target(base, max_rank),
            trust=TrustStore.load(locations.trust_store()),
            policy=Policy(trust),
            listings=lambda index: listings(index, access),
            access=access,
        )


def target(base: str, max_rank: int) -> Target:
    """What packages must fit: the base by its weights if it is here, else by its name."""
    from hive_expert.adapters.base_model import (
        EMBEDDED,
        embedded_directory,
        fingerprint,
        resolve_base,
    )
    from hive_expert.sharing.compatibility import Target

    embedded = EMBEDDED.get(base.lower())
    if embedded is not None:
        directory = embedded_directory(embedded)
        known = fingerprint(directory) if directory.is_dir() else None
        return Target((embedded.hub_name, embedded.slug), known, max_rank)
    if Path(base).expanduser().is_dir():
        found = resolve_base(base)
        return Target(found.names, fingerprint(found.directory), max_rank)
    return Target((base,), None, max_rank)


def outcome_document(outcome: Outcome, *, dry_run: bool) -> dict[str, Any]:
    """What was done, for scripts."""
    return {
        "dry_run": dry_run,
        "steps": [
            {
                "action": step.action,
                "name": step.name,
                "before": step.before,
                "after": step.after,
                "source": step.source,
                "publisher": step.publisher,
                "notes": list(step.notes),
            }
            for step in outcome.steps
        ],
        "failed": {
            name: [str(problem) for problem in problems]
            for name, problems in outcome.failed.items()
        },
    }


def show(outcome: Outcome, *, dry_run: bool, as_json: bool) -> None:
    """Print what was done; and what failed, as errors."""
    if as_json:
        print_json(outcome_document(outcome, dry_run=dry_run))
        return
    for step in outcome.steps:
        versions = " → ".join(v for v in (step.before, step.after) if v)
        if step.before == step.after:
            versions = str(step.after)
        from_whom = f"\t{one_line(step.publisher)}" if step.publisher else ""
        where = f"\t{one_line(step.source, 120)}" if step.source else ""
        would = "would " if dry_run and step.action not in QUIET else ""
        click.echo(f"{would}{step.action}\t{step.name}\t{versions}{from_whom}{where}")
        for told in step.notes:
            note(Text(f"{step.name}: {one_line(told, 200)}", "dim"))
    if not outcome.steps and not outcome.failed:
        note("nothing to do")
