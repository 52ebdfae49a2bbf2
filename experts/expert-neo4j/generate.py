"""Make the data of expert-neo4j: training, validation and test rows, and the test cases.

Everything follows from the seed: the same seed writes the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import rich_click as click
from rich.console import Console
from text_to_cypher.cases import document, free_cases, pattern_cases
from text_to_cypher.dataset import train_examples, validation_examples
from text_to_cypher.examples import Example

HERE = Path(__file__).parent


def write_rows(path: Path, examples: Sequence[Example]) -> None:
    """One JSON object a line; the keys are the columns that the manifest's mapping names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in examples]
    path.write_text("".join(lines), encoding="utf-8")


def family_counts(examples: Sequence[Example]) -> dict[str, int]:
    """How many examples each family of questions has."""
    return dict(Counter(e.category.split("/")[0] for e in examples).most_common())


@click.command(
    epilog="**Examples**\n\n`python generate.py`\n\n`python generate.py --seed 8 --output /tmp/n`"
)
@click.option("--seed", default=7, show_default=True, help="Seed of everything drawn.")
@click.option(
    "--train", "train_size", default=5120, show_default=True, type=click.IntRange(1),
    help="Training rows; more rows leave the first ones as they are.",
)  # fmt: skip
@click.option(
    "--validation", "validation_size", default=160, show_default=True, type=click.IntRange(1),
    help="Validation rows.",
)  # fmt: skip
@click.option(
    "--test", "test_size", default=300, show_default=True, type=click.IntRange(20),
    help="Test cases from the patterns; the hand-written ones come on top.",
)  # fmt: skip
@click.option(
    "--output", default=HERE / "datasets/processed", type=click.Path(path_type=Path),
    help="Directory for train.jsonl, validation.jsonl and test.jsonl.",
)  # fmt: skip
@click.option(
    "--test-cases", default=HERE / "tests/test_cases.json", type=click.Path(path_type=Path),
    help="File for the test cases.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def main(
    seed: int,
    train_size: int,
    validation_size: int,
    test_size: int,
    output: Path,
    test_cases: Path,
    as_json: bool,
) -> None:
    """Write the data set and the test cases of expert-neo4j."""
    with Console(stderr=True).status("drawing graphs, asking"):
        train = train_examples(seed, train_size)
        validation = validation_examples(seed, validation_size)
        cases = [*pattern_cases(seed, test_size), *free_cases()]
    splits = {"train": train, "validation": validation, "test": [c.as_example() for c in cases]}
    for name, examples in splits.items():
        write_rows(output / f"{name}.jsonl", examples)
    test_cases.parent.mkdir(parents=True, exist_ok=True)
    test_cases.write_text(document(cases), encoding="utf-8")

    counts = {name: family_counts(examples) for name, examples in splits.items()}
    if as_json:
        click.echo(json.dumps(counts))
        return
    for name, families in counts.items():
        shares = ", ".join(f"{family} {count}" for family, count in families.items())
        click.echo(f"{name}: {sum(families.values())} rows ({shares})")


if __name__ == "__main__":
    main()
