"""The command line, the stored result and the table of `benchmarks/serving.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import jobs
import pytest
from rich.console import Console
from serving import PARTS, Parts, figures_of, main, store
from serving_report import MEANING, rows, table


def some(name: str, **more: Any) -> dict[str, Any]:
    told = {"ratio": 1.0, "low": 0.9, "high": 1.1, "target": 1.2, "bound": "at most", "ok": True}
    return {"figures": {name: told | more}}


def test_parts_are_chosen_by_name_once_each() -> None:
    assert Parts().convert("p6, P8,P6", None, None) == ("P6", "P8")


def test_an_unknown_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match="P7: there are P6"):
        Parts().convert("P6,P7", None, None)
    with pytest.raises(click.BadParameter):
        main(["--only", "P7", "--output", str(tmp_path)], standalone_mode=False)


def test_what_was_not_measured_again_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "serving.json"
    store(file, {"P6": some("P6"), "P8": some("P8")})
    store(file, {"P8": some("P8", ratio=2.0)})
    figures = figures_of(json.loads(file.read_text()))
    assert {name: told["ratio"] for name, told in figures.items()} == {"P6": 1.0, "P8": 2.0}


def test_every_part_has_its_line_in_the_order_of_numbers() -> None:
    assert MEANING.keys() == PARTS.keys() | jobs.PARTS.keys()
    figures = figures_of({name: some(name) for name in sorted(PARTS)})
    assert [name for name, _, _ in rows(figures)] == list(PARTS)


def test_a_missed_part_of_a_target_is_shown_as_missed() -> None:
    slow = {"ms": 12.0, "low": 11.0, "high": 13.0, "target": 10.0, "ok": False}
    console = Console(width=120)
    with console.capture() as shown:
        console.print(table(figures_of({"P6": some("P6", reactivation_ms=slow, ok=False)})))
    first, second = [line for line in shown.get().splitlines() if "ok" in line or "no" in line]
    assert "ok" in first and "12.000" in second and "no" in second
