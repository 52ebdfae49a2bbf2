"""Make the data of expert-sql in its mixes: each leaves one thing out, to show what it brings.

`benchmarks/ablations.py` trains on them. The test cases are those of `generate.py`.
"""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from text_to_sql.dataset import train_examples
from text_to_sql.mix import MIXES

from hive_expert.cli.terminal import HiveCommand, console
from hive_expert.training.generated import row_line

HERE = Path(__file__).parent


@click.command(
    cls=HiveCommand,
    epilog="""Examples:
  python mixes.py
  python mixes.py --rows 800 --output /tmp/mixes
""",
)
@click.option("--seed", default=7, show_default=True, help="Seed of everything drawn.")
@click.option("--rows", default=2400, show_default=True, type=click.IntRange(1))
@click.option(
    "--output",
    default=HERE / "datasets" / "mixes",
    show_default="datasets/mixes",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for MIX.jsonl, one for each mix.",
)
def main(seed: int, rows: int, output: Path) -> None:
    """Write the training rows of every mix."""
    output.mkdir(parents=True, exist_ok=True)
    for name, mix in MIXES.items():
        with console.status(f"{name}: drawing, asking, checking answers"):
            examples = train_examples(seed, rows, mix)
        lines = "".join(map(row_line, examples))
        (output / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        click.echo(f"{name}: {len(examples)} rows")


if __name__ == "__main__":
    main()
