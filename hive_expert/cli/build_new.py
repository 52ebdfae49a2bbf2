"""`hive-build new`: the folder of a new expert."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from rich.text import Text

from hive_expert.cli.terminal import HiveCommand, note, print_json

NEW_EXAMPLES = """
\b
Examples:
  hive-build new expert-invoices
  hive-build new expert-stock --task sql --kind dora
  hive-build new expert-people --task cypher --directory work/people --json
"""


@click.command("new", cls=HiveCommand, epilog=NEW_EXAMPLES)
@click.argument("name")
@click.option(
    "--task",
    type=click.Choice(["json", "sql", "cypher"]),
    default="json",
    show_default=True,
    help="What it answers with: decides grammar, checks and the rows to start from.",
)
@click.option(
    "--kind",
    type=click.Choice(["lora", "dora", "ia3"]),
    default="lora",
    show_default=True,
    help="Kind of adapter: ia3 for simple repetitive tasks, dora for complex ones.",
)
@click.option("--base", help="Base model as the manifest names it; by default the embedded one.")
@click.option(
    "--directory", type=click.Path(path_type=Path), help="Where; by default a folder NAME here."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def new(
    name: str, task: str, kind: str, base: str | None, directory: Path | None, as_json: bool
) -> None:
    """Lay out the folder of a new expert NAME (expert-…), with rows to start from.

    It can be trained as it is; its README says how to go on.
    """
    from hive_expert.package.new_expert import DEFAULT_BASE, new_expert

    made = new_expert(
        directory or Path(name),
        name,
        task=task,  # type: ignore[arg-type]  # click's choices
        kind=kind,  # type: ignore[arg-type]
        base=base or DEFAULT_BASE,
    )
    if as_json:
        files = sorted(str(p.relative_to(made)) for p in made.rglob("*") if p.is_file())
        print_json({"name": name, "directory": str(made), "files": files})
        return
    note(Text.assemble(("made", "green"), f" {made}; its README.md says how to go on"))
