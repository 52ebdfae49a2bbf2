"""experts/README.md says of grammars and candidates what was measured."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_is_what_was_measured() -> None:
    text = (ROOT / "experts/README.md").read_text()
    measured = json.loads((ROOT / "benchmarks/results/ablation.json").read_text())["experts"]
    for expert, result in measured.items():
        for row in result["rows"]:
            correct = row["correct"]
            value, low, high = (f"{100 * correct[key]:.1f}" for key in ("value", "low", "high"))
            cell = f"{value} ({low} to {high}) | {100 * row['valid']:.0f}"
            assert cell in text, (expert, row["variant"], row["candidates"])
