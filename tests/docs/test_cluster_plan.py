"""The plan for many machines says what `benchmarks/cluster.py` found: its numbers cannot rot."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cluster_report import breaking_rows, detail_facts, plan_facts, plan_rows, small_rows

ROOT = Path(__file__).parents[2]
RESULT = json.loads((ROOT / "benchmarks/results/cluster.json").read_text())


def section(document: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    text = (ROOT / document).read_text()
    return re.split(r"\n#{2,3} ", text.partition(f"\n{heading}")[2], maxsplit=1)[0]


PLAN = section("README.md", "### More than one machine: a plan")
DETAILS = section("benchmarks/README.md", "## `cluster.py`")


@pytest.mark.parametrize("row", plan_rows(RESULT) + breaking_rows(RESULT))
def test_the_tables_of_the_plan(row: str) -> None:
    assert row in PLAN


@pytest.mark.parametrize("fact", plan_facts(RESULT))
def test_the_numbers_in_the_plan_s_words(fact: str) -> None:
    assert fact in " ".join(PLAN.split())


@pytest.mark.parametrize("row", small_rows(RESULT))
def test_the_table_of_p18_s_setting(row: str) -> None:
    assert row in DETAILS


@pytest.mark.parametrize("fact", detail_facts(RESULT))
def test_the_numbers_in_the_details(fact: str) -> None:
    assert fact in " ".join(DETAILS.split())
