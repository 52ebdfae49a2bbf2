"""What is counted, under which few labels."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from hive_expert.catalog.residency import COMPOSED
from hive_expert.serving.observation import Observation
from hive_expert.serving.telemetry import (
    MAX_EXPERTS,
    NOBODY,
    OTHERS,
    Labels,
    Snapshot,
    StateCollector,
    Telemetry,
)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def telemetry(registry: CollectorRegistry) -> Telemetry:
    return Telemetry(registry)


def answered(**fields: Any) -> Observation:
    seen = Observation("id", "POST", "/v1/chat/completions", asks_model=True, status=200)
    for name, value in fields.items():
        setattr(seen, name, value)
    return seen


def test_an_answer_is_counted_by_its_expert(
    telemetry: Telemetry, registry: CollectorRegistry
) -> None:
    telemetry.record(
        answered(
            expert="expert-sql", where="disk", load_s=0.2, first_token_s=0.3,
            prompt_tokens=40, cached_tokens=16, completion_tokens=9, validation="failed",
            routed=True,
        )
    )  # fmt: skip
    of = {"expert": "expert-sql"}

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"hive_{name}", of | labels)

    assert value("requests_total", code="200") == 1
    assert value("tokens_total", kind="prompt") == 40
    assert value("tokens_total", kind="cached") == 16
    assert value("tokens_total", kind="completion") == 9
    assert value("time_to_first_token_seconds_sum", residency="disk") == 0.3
    assert value("time_to_first_token_seconds_count", residency="hot") is None
    assert value("load_seconds_sum") == 0.2
    assert value("validations_total", result="failed") == 1
    assert value("route_decisions_total") == 1


def test_names_from_requests_are_no_labels(
    telemetry: Telemetry, registry: CollectorRegistry
) -> None:
    telemetry.record(answered(expert=None, status=404))
    sample = {"expert": NOBODY, "code": "404"}
    assert registry.get_sample_value("hive_requests_total", sample) == 1


def test_compositions_are_counted_together(
    telemetry: Telemetry, registry: CollectorRegistry
) -> None:
    for names in ("expert-a+expert-b", "expert-b+expert-c", "expert-a"):
        telemetry.record(answered(expert=names, composed=True))
    sample = {"expert": COMPOSED, "code": "200"}
    assert registry.get_sample_value("hive_requests_total", sample) == 3
    assert b'expert="expert-' not in generate_latest(registry)


def test_a_client_that_leaves_early_is_counted(
    telemetry: Telemetry, registry: CollectorRegistry
) -> None:
    telemetry.record(answered(expert="base", status=0))
    sample = {"expert": "base", "code": "499"}
    assert registry.get_sample_value("hive_requests_total", sample) == 1


def test_refusals_count_by_reason_alone(telemetry: Telemetry, registry: CollectorRegistry) -> None:
    telemetry.record(answered(refused="full", status=503))
    telemetry.record(Observation("id", "GET", "/nowhere", refused="route", status=404))
    for reason in ("full", "route"):
        assert registry.get_sample_value("hive_refusals_total", {"reason": reason}) == 1
    assert b"hive_requests_total{" not in generate_latest(registry)


def test_looking_on_is_not_counted_as_asking(
    telemetry: Telemetry, registry: CollectorRegistry
) -> None:
    telemetry.record(Observation("id", "GET", "/v1/models", status=200))
    assert b"hive_requests_total{" not in generate_latest(registry)


def test_the_number_of_labels_is_bounded() -> None:
    labels = Labels(limit=2)
    assert [labels.of(name) for name in ("a", "b", "c", "a", None)] == [
        "a",
        "b",
        OTHERS,
        "a",
        NOBODY,
    ]


def test_a_thousand_experts_make_a_bounded_page(registry: CollectorRegistry) -> None:
    loads = {f"expert-{i}": i + 1 for i in range(1000)}
    registry.register(StateCollector(lambda: Snapshot(loads=loads)))
    lines = [
        x
        for x in generate_latest(registry).decode().splitlines()
        if x.startswith("hive_loads_total{")
    ]
    assert len(lines) == MAX_EXPERTS + 1
    assert sum(float(line.rsplit(" ", 1)[1]) for line in lines) == sum(loads.values())


def test_an_expert_that_is_loaded_more_often_later_takes_no_label(
    registry: CollectorRegistry,
) -> None:
    loads = {f"expert-{i}": 2 for i in range(MAX_EXPERTS)}
    registry.register(StateCollector(lambda: Snapshot(loads=loads)))
    before = registry.get_sample_value("hive_loads_total", {"expert": "expert-0"})
    loads["expert-late"] = 5
    assert registry.get_sample_value("hive_loads_total", {"expert": OTHERS}) == 5
    after = registry.get_sample_value("hive_loads_total", {"expert": "expert-0"})
    last = {"expert": f"expert-{MAX_EXPERTS - 1}"}
    assert (before, after, registry.get_sample_value("hive_loads_total", last)) == (2, 2, 2)


def test_the_state_is_asked_for_when_it_is_shown(registry: CollectorRegistry) -> None:
    now = [Snapshot()]
    registry.register(StateCollector(lambda: now[0]))
    now[0] = Snapshot(present=5, waiting=2, experts={"available": 3}, resident={"slot": 1})
    assert registry.get_sample_value("hive_requests_present") == 5
    assert registry.get_sample_value("hive_requests_waiting") == 2
    assert registry.get_sample_value("hive_experts", {"state": "available"}) == 3
    assert registry.get_sample_value("hive_experts_resident", {"place": "slot"}) == 1


def test_each_request_is_logged_once(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "hive_expert.access"):
        telemetry.record(answered(expert="expert-sql"))
    assert caplog.messages == ["POST /v1/chat/completions 200"]
