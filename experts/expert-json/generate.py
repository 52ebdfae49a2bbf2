"""Make the data of expert-json: training, validation and test rows, and the test cases.

Everything follows from the seed: the same seed writes the same bytes. The domains of the
validation and test splits, and the names that stand in their texts, are not in training.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import rich_click as click
from text_to_json.cases import document, generated_cases, hand_written_cases
from text_to_json.composed import load_bank, with_composed
from text_to_json.domains import load_domains
from text_to_json.examples import Example, make_examples
from text_to_json.values import load_pools

HERE = Path(__file__).parent
DATA = HERE / "text_to_json" / "data"


def split_examples(seed: int, split: str, count: int) -> list[Example]:
    """``count`` examples of one split; more of them leave the first ones as they are."""
    written = load_domains(DATA / "domains")[split]
    domains_of = with_composed(written, load_bank(DATA / "attributes.toml"), seed)
    if split != "train":
        domains_of = lambda _: written  # noqa: E731 - the same in each round
    pools = load_pools(DATA / "pools.toml", held_out=split != "train")
    return make_examples(seed, split, domains_of, pools, count)


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """One JSON object a line; the keys are the columns that the manifest's mapping names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


def category_counts(rows: Sequence[dict[str, str]]) -> dict[str, int]:
    """How many rows each category has."""
    return dict(Counter(row["category"].split("/")[0] for row in rows).most_common())


@click.command(
    epilog="**Examples**\n\n`python generate.py`\n\n`python generate.py --seed 8 --output /tmp/x`"
)
@click.option("--seed", default=7, show_default=True, help="Seed of everything drawn.")
@click.option(
    "--train", "train_size", default=10000, show_default=True, type=click.IntRange(1),
    help="Training rows; more rows leave the first ones as they are.",
)  # fmt: skip
@click.option(
    "--validation", "validation_size", default=150, show_default=True, type=click.IntRange(1),
    help="Validation rows.",
)  # fmt: skip
@click.option(
    "--test", "test_size", default=264, show_default=True, type=click.IntRange(1),
    help="Generated test cases; the hand-written ones come on top.",
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
    """Write the rows and test cases of expert-json."""
    cases = [
        *generated_cases(split_examples(seed, "test", test_size)),
        *hand_written_cases(DATA / "hand-written.toml"),
    ]
    splits = {
        "train": [e.row() for e in split_examples(seed, "train", train_size)],
        "validation": [e.row() for e in split_examples(seed, "validation", validation_size)],
        "test": [case.row() for case in cases],
    }
    for split, rows in splits.items():
        write_rows(output / f"{split}.jsonl", rows)
    test_cases.parent.mkdir(parents=True, exist_ok=True)
    test_cases.write_text(document(cases), encoding="utf-8")
    counts = {split: category_counts(rows) for split, rows in splits.items()}
    if as_json:
        click.echo(json.dumps(counts))
        return
    for split, categories in counts.items():
        shares = ", ".join(f"{category} {count}" for category, count in categories.items())
        click.echo(f"{split}: {len(splits[split])} rows ({shares})")


if __name__ == "__main__":
    main()
