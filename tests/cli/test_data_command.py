"""The command line that data generators share."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from hive_expert.cli.data_command import Sizes, data_command
from hive_expert.training.generated import Case, Data, Example, Messages


def make(seed: int, sizes: Sizes) -> Data:
    rows = [Example("", f"{seed}/{i}", "a", f"{i}", "kind/x") for i in range(sizes.train)]
    case = Case("one", "other-hand/x", Messages("", "q"), "MATCH (a) RETURN a")
    return Data("cypher_structure", rows, rows[: sizes.validation], [case] * sizes.test)


def test_sizes_seed_and_places_reach_the_generator(tmp_path: Path) -> None:
    command = data_command("expert-x", tmp_path, Sizes(5, 2, 30), make)
    done = CliRunner().invoke(command, ["--seed", "3", "--train", "4", "--test", "20", "--json"])
    assert done.exit_code == 0, done.output
    counts = json.loads(done.stdout)
    assert counts == {"train": {"kind": 4}, "validation": {"kind": 2}, "test": {"other-hand": 20}}
    first = (tmp_path / "datasets/processed/train.jsonl").read_text().splitlines()[0]
    assert json.loads(first)["instruction"] == "3/0"
    assert (tmp_path / "tests/test_cases.json").exists()


def test_too_few_test_cases_are_wrong_usage(tmp_path: Path) -> None:
    command = data_command("expert-x", tmp_path, Sizes(5, 2, 30), make)
    done = CliRunner().invoke(command, ["--test", "3"])
    assert done.exit_code == 2
