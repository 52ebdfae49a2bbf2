"""`hive`: everyday use. Chat, experts and where they come from, base models, trust, routing."""

from __future__ import annotations

import rich_click as click
from rich.text import Text

from hive_expert import __version__
from hive_expert.cli.hive_chat import chat_command
from hive_expert.cli.hive_check import check_command
from hive_expert.cli.hive_index import index
from hive_expert.cli.hive_install import install_command, uninstall_command, update_command
from hive_expert.cli.hive_jobs import jobs
from hive_expert.cli.hive_jobs_run import run_command
from hive_expert.cli.hive_list import list_command
from hive_expert.cli.hive_route import route_command
from hive_expert.cli.hive_search import search_command
from hive_expert.cli.hive_trust import trust
from hive_expert.cli.terminal import HiveCommand, HiveGroup, console, note, print_json


@click.group(cls=HiveGroup)
@click.version_option(__version__, prog_name="hive")
def main() -> None:
    """Chat with experts, install and list them, look after base models and trusted publishers."""


@main.group(cls=HiveGroup)
def model() -> None:
    """Base models: import, list, path, fingerprint."""


MODEL_EXAMPLES = """
\b
Examples:
  hive model import smollm2-135m
  hive model import smollm2-135m --json
"""


@model.command("import", cls=HiveCommand, epilog=MODEL_EXAMPLES)
@click.argument("name", default="smollm2-135m")
@click.option("--force", is_flag=True, help="Import again, replacing what is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def import_model(name: str, force: bool, as_json: bool) -> None:
    """Turn a base model that ships in a Python package into a safetensors folder."""
    from hive_expert.adapters.base_model import EMBEDDED, fingerprint, import_embedded
    from hive_expert.errors import BaseModelError, Problem

    embedded = EMBEDDED.get(name.lower())
    if embedded is None:
        known = ", ".join(sorted({m.slug for m in EMBEDDED.values()}))
        raise BaseModelError(
            Problem(
                name,
                "not an embedded model",
                f"known: {known}; others are used by path or hub name",
            )
        )
    with console.status(f"importing {embedded.slug}") as status:
        directory = import_embedded(
            embedded, progress=lambda stage: status.update(f"{embedded.slug}: {stage}"), force=force
        )
        status.update(f"{embedded.slug}: fingerprint")
        digest = fingerprint(directory)
    if as_json:
        print_json({"name": embedded.slug, "path": str(directory), "fingerprint": digest})
    else:
        where = f" is at {directory}\nfingerprint {digest}"
        note(Text.assemble((embedded.slug, "green"), where))


LIST_EXAMPLES = """
\b
Examples:
  hive model list
  hive model list --json
"""


@model.command("list", cls=HiveCommand, epilog=LIST_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def list_models(as_json: bool) -> None:
    """List the embedded base models and whether they are imported."""
    from hive_expert.adapters.base_model import EMBEDDED, embedded_directory

    rows = [
        {
            "name": m.slug,
            "hub_name": m.hub_name,
            "imported": embedded_directory(m).is_dir(),
            "path": str(embedded_directory(m)),
        }
        for m in {m.slug: m for m in EMBEDDED.values()}.values()
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        place = row["path"] if row["imported"] else "not imported"
        click.echo(f"{row['name']}\t{row['hub_name']}\t{place}")


PATH_EXAMPLES = """
\b
Examples:
  hive model path
  hive model path smollm2-135m --json
"""


@model.command("path", cls=HiveCommand, epilog=PATH_EXAMPLES)
@click.argument("name", default="smollm2-135m")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def model_path(name: str, as_json: bool) -> None:
    """Print the folder of a base model, importing it first if it is embedded."""
    from hive_expert.adapters.base_model import resolve_base

    with console.status(Text(name)) as status:
        base = resolve_base(name, progress=lambda stage: status.update(Text(f"{name}: {stage}")))
    if as_json:
        print_json({"name": base.name, "path": str(base.directory)})
    else:
        click.echo(base.directory)


FINGERPRINT_EXAMPLES = """
\b
Examples:
  hive model fingerprint smollm2-135m
  hive model fingerprint ./Qwen3-0.6B --json
"""


@model.command("fingerprint", cls=HiveCommand, epilog=FINGERPRINT_EXAMPLES)
@click.argument("name", default="smollm2-135m")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def model_fingerprint(name: str, as_json: bool) -> None:
    """Print the sha256 identity of a base model's weights, as manifests pin it."""
    from hive_expert.adapters.base_model import fingerprint, resolve_base

    with console.status(Text(name)) as status:
        base = resolve_base(name, progress=lambda stage: status.update(Text(f"{name}: {stage}")))
        status.update(Text(f"{name}: hashing weights"))
        digest = fingerprint(base.directory)
    if as_json:
        print_json({"name": base.name, "path": str(base.directory), "fingerprint": digest})
    else:
        click.echo(digest)


main.add_command(chat_command)
main.add_command(list_command)
main.add_command(install_command)
main.add_command(update_command)
main.add_command(uninstall_command)
main.add_command(search_command)
main.add_command(check_command)
main.add_command(index)
main.add_command(trust)
main.add_command(route_command)
jobs.add_command(run_command)
main.add_command(jobs)


if __name__ == "__main__":
    main()
