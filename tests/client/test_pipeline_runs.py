"""Which batches make up a run, and which models of a pipeline a server has."""

from __future__ import annotations

from typing import Any

import pytest

from hive_expert.client.pipeline_runs import PartBatches, model_problems, newest_chain, told


def batch(batch_id: str, at: int, status: str = "completed", **more: Any) -> dict[str, Any]:
    counts = {"total": 10, "completed": more.pop("completed", 10), "failed": more.pop("failed", 0)}
    metadata = {"run": "r", "part": "1", **more}
    return {
        "id": batch_id,
        "created_at": at,
        "status": status,
        "metadata": metadata,
        "request_counts": counts,
    }


def ids(found: PartBatches) -> list[str]:
    return [each["id"] for each in found.batches]


def test_a_retry_follows_what_it_retries_whatever_the_clock_says() -> None:
    one, two = batch("1", 5, failed=4, completed=6), batch("2", 5, retry_of="1", completed=3)
    three = batch("3", 5, retry_of="2", completed=1)
    found = newest_chain([three, one, two])
    assert ids(found) == ["1", "2", "3"]
    assert (found.completed, found.failed) == (10, 0)


def test_a_fresh_run_is_not_mixed_with_an_older_one() -> None:
    old, again, fresh = batch("1", 1), batch("2", 2, retry_of="1"), batch("3", 3)
    assert ids(newest_chain([old, again, fresh])) == ["3"]


def test_a_batch_whose_forerunner_was_deleted_begins_anew() -> None:
    assert ids(newest_chain([batch("2", 2, retry_of="1")])) == ["2"]


@pytest.mark.parametrize(
    ("last", "broken_off", "of_no_use"),
    [
        (batch("1", 1), False, False),
        (batch("1", 1, failed=2), False, False),
        (batch("1", 1, "in_progress", completed=0), False, False),
        (batch("1", 1, "cancelled", failed=2), True, False),
        (batch("1", 1, "expired", failed=2), True, False),
        (batch("1", 1, "cancelled", failed=0), False, False),
        (batch("1", 1, "failed", failed=0), False, True),
    ],
)
def test_what_a_part_still_needs(last: Any, broken_off: bool, of_no_use: bool) -> None:
    found = PartBatches((last,))
    assert (found.broken_off, found.of_no_use) == (broken_off, of_no_use)


def test_a_batch_that_was_never_read_is_of_no_use() -> None:
    last = batch("1", 1, "cancelled")
    last["request_counts"] = {"total": 0, "completed": 0, "failed": 0}
    assert PartBatches((last,)).of_no_use


def test_results_and_errors_are_told_by_line() -> None:
    body = {"object": "pipeline.result", "id": "x", "output": "o", "steps": {}, "usage": {}}
    line = {"custom_id": "line-7", "response": {"status_code": 200, "body": body}, "error": None}
    assert told(line) == {"line": 7, "id": "x", "output": "o", "steps": {}, "usage": {}}
    error = {"code": "batch_expired", "message": "…"}
    assert told({"custom_id": "line-8", "response": None, "error": error}) == {
        "line": 8,
        "error": error,
    }


EXPERTS = [
    {"id": "expert-sql", "state": "slot", "constraints": {"max_chain": 2}},
    {"id": "expert-json", "state": "disk", "constraints": {}},
    {"id": "expert-broken", "state": "unavailable", "problems": ["its hash is wrong"]},
]
SERVED = {"tiny", "auto", "expert-sql", "expert-json"}


@pytest.mark.parametrize(
    "model",
    [
        "tiny",
        "base",
        "auto",
        "expert-json",
        "expert-sql@0.2.0",
        "expert-sql#abc123",
        "expert-sql:0.7+expert-json:0.3",
        "expert-json@1.0.0+build",
    ],
)
def test_what_is_served_may_be_named(model: str) -> None:
    assert model_problems([(model, 2)], SERVED, EXPERTS) == []


@pytest.mark.parametrize(
    ("model", "length", "what"),
    [
        ("expert-nowhere", 1, "expert-nowhere is not served here"),
        ("expert-sql+expert-nowhere:0.3", 1, "expert-nowhere is not served here"),
        ("expert-broken", 1, "expert-broken is not served: its hash is wrong"),
        ("expert-sql", 3, "expert-sql goes into chains of at most 2 steps, not 3"),
        ("big", 1, "big is not served here"),
    ],
)
def test_what_is_not_is_told(model: str, length: int, what: str) -> None:
    (problem,) = model_problems([("tiny", 1), (model, length)], SERVED, EXPERTS)
    assert problem.where == "steps[1].model"
    assert what in problem.what
