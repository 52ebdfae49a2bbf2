"""Rows and cases of expert-sql, for its tests."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from text_to_sql.dataset import train_examples

from hive_expert.training.generated import Example

EXPERT = Path(__file__).parents[2] / "experts" / "expert-sql"
SAMPLE = 1500


@cache
def train_sample() -> tuple[Example, ...]:
    return tuple(train_examples(7, SAMPLE))


@cache
def case_document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((EXPERT / "tests/test_cases.json").read_bytes())
    return document


@cache
def fixture(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(case_document()["fixtures"][name])
    return connection


def pattern_case_rows() -> Iterator[dict[str, Any]]:
    return (c for c in case_document()["cases"] if not c["category"].startswith("other-hand/"))
