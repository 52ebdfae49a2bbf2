from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from experts_claims import CLAIMS, figures_of

from experts import command_of
from tests.docs.test_commands import parse


def standing(model: str, variant: str, marks: str, valid: float) -> dict[str, Any]:
    """One outcome per mark, ``+`` correct; the first half single tables, the second joins."""
    rate = {"low": 0.0, "high": 1.0, "count": len(marks)}
    names = ["single/x", "join/x"]
    return {
        "model": model,
        "variant": variant,
        "correct": rate | {"value": marks.count("+") / len(marks)},
        "valid": rate | {"value": valid},
        "fields": None,
        "outcomes": [
            {"category": names[2 * i // len(marks)], "correct": mark == "+"}
            for i, mark in enumerate(marks)
        ],
    }


REPORT = {
    "standings": [
        standing("expert-sql", "grammar", "+++-+---", 0.9),
        standing("expert-sql", "no-grammar", "--------", 0.1),
        standing("base", "grammar", "+-------", 0.3),
        standing("base", "no-grammar", "++------", 0.2),
    ]
}


def test_a_measure_is_held_to_its_target_and_beside_the_best_of_the_base() -> None:
    one = figures_of({"expert-sql": REPORT})["expert-sql: the same rows from SQLite"]
    assert (one["ratio"], one["base"], one["target"], one["ok"]) == (0.5, 0.25, 0.6, False)


def test_categories_count_by_the_beginning_of_their_name() -> None:
    figures = figures_of({"expert-sql": REPORT})
    single = figures["expert-sql: the same, of one table"]
    joins = figures["expert-sql: the same, of joins"]
    assert (single["ratio"], single["cases"], single["ok"]) == (0.75, 4, True)
    assert (joins["ratio"], joins["cases"], joins["ok"]) == (0.25, 4, False)


def test_an_expert_without_a_report_has_no_figures() -> None:
    assert {name.partition(":")[0] for name in figures_of({"expert-sql": REPORT})} == {"expert-sql"}
    assert figures_of({}) == {}


@pytest.mark.parametrize("absent", ["outcomes", "valid"])
def test_what_an_older_report_does_not_tell_has_no_figure(absent: str) -> None:
    older = [{k: v for k, v in s.items() if k != absent} for s in REPORT["standings"]]
    figures = figures_of({"expert-sql": {"standings": older}})
    assert "expert-sql: the same rows from SQLite" in figures
    assert ("expert-sql: executes" in figures) == (absent != "valid")
    assert ("expert-sql: the same, of joins" in figures) == (absent != "outcomes")


def test_a_variant_that_was_not_asked_has_no_figure() -> None:
    own = standing("expert-json", "grammar", "+-", 1.0)
    figures = figures_of({"expert-json": {"standings": [own]}})
    assert list(figures) == ["expert-json: valid under the prompt's schema, bound to it"]


def test_no_two_claims_have_one_name() -> None:
    names = [str(claim) for claim in CLAIMS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("quick", [False, True])
def test_an_evaluation_that_counts_has_a_page_and_the_time_that_the_expert_adds(
    tmp_path: Path, quick: bool
) -> None:
    words = command_of("sql", "http://127.0.0.1:1/v1", tmp_path, quick=quick, write=not quick)
    parse(shlex.join(["hive-train", *words[1:]]))
    assert ("--perf" in words) is not quick
    assert (str(tmp_path / "expert-sql.html") in words) is not quick
    assert ("--limit" in words) is quick
