"""The command line of an expert's data generator: every `generate.py` has the same one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hive_expert.cli.terminal import HiveCommand, console

if TYPE_CHECKING:
    from hive_expert.training.generated import Data


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows and cases to make; ``test`` without those that are written by hand."""

    train: int
    validation: int
    test: int


def data_command(
    name: str, folder: Path, sizes: Sizes, make: Callable[[int, Sizes], Data]
) -> click.Command:
    """The command that writes the data of expert ``name``, whose directory is ``folder``.

    ``make`` gets the seed and the sizes asked for; ``sizes`` are the usual ones.
    """
    processed, test_cases_file = folder / "datasets/processed", folder / "tests/test_cases.json"

    @click.command(
        cls=HiveCommand,
        help=f"Write the data set and the test cases of {name}.",
        epilog="""Examples:
  python generate.py
  python generate.py --seed 8 --output /tmp/rows --test-cases /tmp/cases.json
""",
    )
    @click.option("--seed", default=7, show_default=True, help="Seed of everything drawn.")
    @click.option(
        "--train", default=sizes.train, show_default=True, type=click.IntRange(1),
        help="Training rows; more rows leave the first ones as they are.",
    )  # fmt: skip
    @click.option(
        "--validation", default=sizes.validation, show_default=True, type=click.IntRange(1),
        help="Validation rows.",
    )  # fmt: skip
    @click.option(
        "--test", default=sizes.test, show_default=True, type=click.IntRange(20),
        help="Generated test cases; the hand-written ones come on top.",
    )  # fmt: skip
    @click.option(
        "--output", default=processed, type=click.Path(path_type=Path),
        help="Directory for train.jsonl, validation.jsonl and test.jsonl.",
    )  # fmt: skip
    @click.option(
        "--test-cases", default=test_cases_file, type=click.Path(path_type=Path),
        help="File for the test cases.",
    )  # fmt: skip
    @click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
    def command(
        seed: int,
        train: int,
        validation: int,
        test: int,
        output: Path,
        test_cases: Path,
        as_json: bool,
    ) -> None:
        from hive_expert.training.generated import write_data

        with console.status("drawing, asking, checking answers"):
            data = make(seed, Sizes(train, validation, test))
        write_data(data, output, test_cases)
        _print_counts(data, as_json)

    return command


def _print_counts(data: Data, as_json: bool) -> None:
    from hive_expert.training.generated import family_counts

    counts = {name: family_counts(examples) for name, examples in data.splits().items()}
    if as_json:
        click.echo(json.dumps(counts))
        return
    for name, families in counts.items():
        shares = ", ".join(f"{family} {count}" for family, count in families.items())
        click.echo(f"{name}: {sum(families.values())} rows ({shares})")
