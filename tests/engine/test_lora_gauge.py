"""What vLLM counts under the names of all adapters together is not counted here."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from vllm.v1.metrics.loggers import PrometheusStatLogger
from vllm.v1.metrics.stats import SchedulerStats

from hive_expert.engine.lora_gauge import drop_lora_gauge


class Anything:
    """Stands for each of vLLM's other metrics."""

    def __getattr__(self, _: str) -> Any:
        return self

    def __getitem__(self, _: object) -> Any:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __call__(self, *_: object, **__: object) -> Any:
        return self


class Logger(PrometheusStatLogger):
    """vLLM's own, with no metric but this one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        names = ("max_lora", "waiting_lora_adapters", "running_lora_adapters")
        self.labelname_max_lora, self.labelname_waiting_lora_adapters = names[:2]
        self.labelname_running_lora_adapters, self.max_lora = names[2], 2
        self.gauge_lora_info = Gauge(
            "vllm:lora_requests_info", "Running stats.", names, registry=registry
        )
        self.kv_cache_metrics_enabled = self.show_hidden_metrics = False

    def __getattr__(self, _: str) -> Any:
        return Anything()


@pytest.mark.parametrize("dropped", [False, True])
def test_adapters_that_meet_leave_no_trace(dropped: bool) -> None:
    registry = CollectorRegistry()
    Counter("others", "Others.", registry=registry)
    logger = Logger(registry)
    client = SimpleNamespace(logger_manager=SimpleNamespace(stat_loggers=[Anything(), logger]))
    if dropped:
        drop_lora_gauge(client, registry)
        drop_lora_gauge(client, registry)
    for names in (["a"], ["a", "b"], ["b", "a"]):
        stats = SchedulerStats(running_lora_adapters=dict.fromkeys(names, 1))
        logger.record(stats, None)
    page = generate_latest(registry).decode()
    assert "others" in page
    assert page.count("vllm:lora_requests_info{") == (0 if dropped else 3)
    assert ("lora_requests_info" in page) is not dropped


def test_a_registry_that_never_had_it_is_no_error() -> None:
    logger = Logger(CollectorRegistry())
    client = SimpleNamespace(logger_manager=SimpleNamespace(stat_loggers=[logger]))
    drop_lora_gauge(client, CollectorRegistry())
    assert logger.gauge_lora_info is None


def test_an_engine_without_metrics_is_left_alone() -> None:
    drop_lora_gauge(SimpleNamespace(logger_manager=None), CollectorRegistry())
