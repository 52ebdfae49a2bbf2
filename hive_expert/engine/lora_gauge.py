"""vLLM's `vllm:lora_requests_info`, which a server for many experts cannot afford.

Its labels are the names of all adapters that run and wait, in their order, and each set of labels
stays for good: `/metrics` would grow with every combination of requests that ever met, and show
the weights that clients write into the names of compositions.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry
from vllm.v1.metrics.loggers import PrometheusStatLogger


def drop_lora_gauge(engine_client: Any, registry: CollectorRegistry) -> None:
    """Have the engine's client no longer write the gauge, nor ``registry`` show it."""
    if engine_client.logger_manager is None:
        return  # it writes no metrics at all
    for logger in engine_client.logger_manager.stat_loggers:
        if not isinstance(logger, PrometheusStatLogger) or logger.gauge_lora_info is None:
            continue
        gauge, logger.gauge_lora_info = logger.gauge_lora_info, None
        with suppress(KeyError):  # with several processes, each registry is another
            registry.unregister(gauge)
