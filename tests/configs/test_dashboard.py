"""The dashboard is whole; tests/e2e holds it against the metrics of a real server."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, generate_latest

from hive_expert.jobs.telemetry import JobCollector, JobSnapshot, JobTelemetry
from hive_expert.serving.telemetry import Snapshot, StateCollector, Telemetry
from tests.configs.dashboard import expressions, metrics, panels, series_in


def test_every_metric_of_ours_is_shown() -> None:
    registry = CollectorRegistry()
    Telemetry(registry)
    registry.register(StateCollector(Snapshot))
    JobTelemetry(registry)
    registry.register(JobCollector(JobSnapshot))
    ours = {
        name
        for name in series_in(generate_latest(registry).decode())
        if not name.endswith(("_created", "_sum", "_count"))
    }
    base = {re.sub(r"_bucket$", "", name) for name in metrics()}
    assert {re.sub(r"_bucket$", "", name) for name in ours} <= base


def test_panels_do_not_overlap_and_have_titles() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["title"] for panel in panels()}) == len(panels())


def test_brackets_balance() -> None:
    for expression in expressions():
        for pair in ("()", "{}", "[]"):
            assert expression.count(pair[0]) == expression.count(pair[1]), expression
