"""`hive-build migrate`: from manifests of version 1.0 to 2.0."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from rich.text import Text

from hive_expert.cli.terminal import HiveCommand, console, note, print_json

MIGRATE_EXAMPLES = """
\b
Examples:
  hive-build migrate experts/expert-old --dry-run
  hive-build migrate experts/expert-old
  hive-build migrate old.json --output manifest.json --json
"""


@click.command(cls=HiveCommand, epilog=MIGRATE_EXAMPLES)
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the new manifest there; in place if absent, with the old one kept beside it.",
)
@click.option("--dry-run", is_flag=True, help="Print the new manifest and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def migrate(path: Path, output: Path | None, dry_run: bool, as_json: bool) -> None:
    """Rewrite a manifest of version 1.0 as 2.0; nothing in it is lost.

    PATH is an expert's folder or a manifest. In place, the original is kept as manifest.v1.json. A
    soft prompt in a .pt file is written beside it as safetensors, which the manifest then names.
    """
    from hive_expert.adapters.first_generation import soft_prompt_from_pt
    from hive_expert.manifest.migrate import plan_migration, write_migration

    with console.status(Text(f"reading {path.name}")):
        plan = plan_migration(path, convert=soft_prompt_from_pt)
    target = output or plan.source
    write = plan.needed and not dry_run
    backup = write_migration(plan, output) if write else None
    if as_json:
        print_json(
            {
                "source": str(plan.source),
                "name": plan.manifest.name,
                "needed": plan.needed,
                "written": str(target) if write else None,
                "backup": str(backup) if backup else None,
                "renamed": [{"from": old, "to": new} for old, new in plan.spellings],
                "converted": [str(file) for file in plan.converted],
            }
        )
        return
    if not plan.needed:
        note(f"{plan.source} is of version 2.0 already; nothing to do")
        return
    if dry_run:
        click.echo(plan.content.decode(), nl=False)
    for old, new in plan.spellings:
        note(f"{old} is now {new}")
    for file in plan.converted:
        note(f"{file.with_suffix('.pt')} is now {file}")
    if write:
        click.echo(f"{target} is of version 2.0" + (f"; the old one is {backup}" if backup else ""))
