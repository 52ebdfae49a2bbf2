"""Pipelines as plain values, and small ways to make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from hive_expert.jobs.batch import Batch
from hive_expert.jobs.batch_rows import batch_columns
from hive_expert.jobs.pipelines.model import Pipeline
from hive_expert.jobs.pipelines.parse import pipeline_from
from hive_expert.jobs.store import Store
from hive_expert.jobs.tables import BATCHES, open_database


def step(name: str, prompt: str = "{{document.text}}", **more: Any) -> dict[str, Any]:
    return {"name": name, "model": "fake", "prompt": prompt, **more}


def values(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "test", "steps": list(steps), **more}


def pipeline(*steps: dict[str, Any], **more: Any) -> Pipeline:
    return pipeline_from(values(*steps, **more), "test.yaml")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A database with two batches at work, `batch_1` and `batch_2`."""
    made = Store(open_database(f"sqlite:///{tmp_path / 'jobs.sqlite'}"))
    for name in ("batch_1", "batch_2"):
        batch = Batch(name, "", "/v1/pipelines", "file-1", "24h", 0, 1, state="in_progress")
        with made.engine.begin() as connection:
            connection.execute(insert(BATCHES).values(**batch_columns(batch)))
    return made
