"""`hive route`: who would answer, and why: from manifests alone, or asked of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from hive_expert.cli.server_options import printable, server_options
from hive_expert.cli.terminal import HiveCommand, note, print_json
from hive_expert.errors import HiveError, Problem

if TYPE_CHECKING:
    from hive_expert.manifest.model import Manifest

EXAMPLES = """
\b
Examples:
  hive route "Find all users older than 25. Schema: users(id, name, age)"
  hive route "Explain what SELECT does" --experts-dir experts --json
  hive route "How many are there?" --system "Dialect: sql" --max-experts 2
  hive route "Where is Oslo?" --url http://127.0.0.1:8000
"""


@click.command("route", cls=HiveCommand, epilog=EXAMPLES)
@click.argument("text")
@click.option(
    "--experts-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with .expert packages or unpacked experts; their signatures are not asked for. "
    "Default: experts.d.",
)
@click.option("--system", help="A system message to go before the text.")
@click.option(
    "--max-experts",
    type=click.IntRange(1, 10),
    help="How many may answer together, where their manifests allow it. Default: 1, or what the "
    "server allows.",
)
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print the decision as JSON.")
def route_command(
    text: str,
    experts_dir: Path | None,
    system: str | None,
    max_experts: int | None,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Tell which experts `model=auto` would choose for TEXT, and why.

    With --url the server is asked, which also weighs where its experts' weights are.
    """
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    if url is None or experts_dir is not None:
        decision = _decide_here(messages, experts_dir or Path("experts.d"), max_experts or 1)
    else:
        from hive_expert.client.plain_http import ask_server

        body = {"messages": messages} | ({"max_experts": max_experts} if max_experts else {})
        decision = ask_server(url, "/v1/route", api_key=api_key, body=body)
    if as_json:
        print_json(decision)
    else:
        _show(decision)


def _decide_here(messages: list[dict[str, str]], experts_dir: Path, max_experts: int) -> Any:
    from hive_expert.router.embeddings import load_embeddings
    from hive_expert.router.index import build_index
    from hive_expert.router.policy import shipped_policy
    from hive_expert.router.route import Settings, route
    from hive_expert.router.turns import turns_of

    index = build_index(newest(read_manifests(experts_dir)), load_embeddings(), shipped_policy())
    for warning in index.warnings:
        note(f"note: {warning}")
    settings = Settings(max_experts=max_experts)
    return route(turns_of(messages), index, settings=settings).as_json()


def read_manifests(directory: Path) -> Iterator[Manifest]:
    """The manifests of all experts in a folder; what is broken is noted and left out.

    Raises:
        HiveError: there is none.
    """
    from hive_expert.manifest.parse import parse_manifest
    from hive_expert.package.open import examine_package

    found = 0
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        file = path / "manifest.json"
        try:
            if path.suffix == ".expert" and path.is_file():
                manifest = examine_package(path).manifest
            elif file.is_file():
                manifest = parse_manifest(file.read_bytes(), str(file))
            else:
                continue
        except HiveError as error:
            for problem in error.problems:
                note(f"left out: {path.name}: {problem}")
            continue
        found += 1
        yield manifest
    if not found:
        raise HiveError(Problem(str(directory), "has no experts", "give --experts-dir a folder"))


def newest(manifests: Iterator[Manifest]) -> list[Manifest]:
    """The highest version of each name, as a server takes it."""
    from hive_expert.manifest.versions import precedence

    best: dict[str, Manifest] = {}
    for manifest in manifests:
        held = best.get(manifest.name)
        if held is None or precedence(manifest.version) > precedence(held.version):
            best[manifest.name] = manifest
    return list(best.values())


def _show(decision: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    click.echo(printable(decision["model"] or "base model"))
    out = Console(highlight=False)
    for reason in decision["reasons"]:
        out.print(Text(f"  {printable(reason)}"), soft_wrap=True)
    if not decision["candidates"]:
        return
    table = Table("expert", "probability", "what speaks for or against it")
    table.columns[2].overflow = "fold"
    for candidate in decision["candidates"]:
        shown = [f"{name} {value:+.2f}" for name, value in candidate["features"].items() if value]
        told = [f"ruled out: {candidate['ruled_out']}"] if candidate["ruled_out"] else []
        told += [f"says {', '.join(candidate['keywords'])}"] if candidate["keywords"] else []
        table.add_row(
            Text(printable(candidate["name"])),
            f"{candidate['probability']:.3f}",
            Text(printable("; ".join([*told, *shown]))),
        )
    out.print(table)
