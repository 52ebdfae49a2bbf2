"""Metrics of this server beside vLLM's own, in the same registry (`GET /metrics`).

Labels have few values: names of experts come from the catalog, never from a request. Compositions
are counted together, and so are the experts beyond `MAX_EXPERTS`. What others count already
(residency, the queue) is read when the metrics are asked for. `configs/grafana.json` shows all of
it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from hive_expert.catalog.residency import COMPOSED
from hive_expert.serving.observation import Observation

access_log = logging.getLogger("hive_expert.access")

MAX_EXPERTS = 200
"""Different experts with metrics of their own."""

OTHERS = "others"
"""All that came after them."""

NOBODY = "none"
"""Requests that named no model of this server."""

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TEMPERATURE = {"base": "base", "hit": "hot", "cpu": "cpu", "disk": "disk"}


@dataclass
class Labels:
    """Names that may stand as labels.

    Law: never more than `limit` different ones, and the one for all others.
    """

    limit: int = MAX_EXPERTS
    _known: set[str] = field(default_factory=set)

    def of(self, name: str | None) -> str:
        if name is None:
            return NOBODY
        if name not in self._known:
            if len(self._known) >= self.limit:
                return OTHERS
            self._known.add(name)
        return name


class Telemetry:
    """What is counted of requests, each once, when it has ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"hive_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"hive_{name}", text, labels, registry=registry, buckets=_SECONDS)

        self.registry = registry
        self._labels = Labels()
        self._requests = counter("requests", "Requests that ask a model.", "expert", "code")
        self._tokens = counter("tokens", "Tokens of prompts and answers.", "expert", "kind")
        self._first_token = histogram(
            "time_to_first_token_seconds",
            "From a request's first byte to its answer's first token, by where the weights were.",
            "expert",
            "residency",
        )
        self._seconds = histogram(
            "request_seconds", "From a request's first byte to its last.", "expert"
        )
        self._loads = histogram(
            "load_seconds", "What loading an expert took, for requests that waited.", "expert"
        )
        self._validations = counter("validations", "Answers that were checked.", "expert", "result")
        self._overflows = counter(
            "overflows", "Requests given up since an expert's numbers overflowed.", "expert"
        )
        self._routed = counter("route_decisions", "Requests for auto, by who answered.", "expert")
        self._refusals = counter("refusals", "Requests refused at the door.", "reason")

    def record(self, seen: Observation) -> None:
        """Count a request that has ended, and log it."""
        if seen.refused is not None:
            self._refusals.labels(seen.refused).inc()
        elif seen.asks_model:
            self._record_answer(seen)
        access_log.info("%s %s %d", seen.method, seen.path, seen.status, extra={"request": seen})

    def _record_answer(self, seen: Observation) -> None:
        expert = self._labels.of(COMPOSED if seen.composed else seen.expert)
        # A client that leaves before its answer begins gets none: the code that nginx uses.
        self._requests.labels(expert, str(seen.status or 499)).inc()
        self._seconds.labels(expert).observe(seen.seconds)
        self._tokens.labels(expert, "prompt").inc(seen.prompt_tokens)
        self._tokens.labels(expert, "cached").inc(seen.cached_tokens)
        self._tokens.labels(expert, "completion").inc(seen.completion_tokens)
        if seen.routed:
            self._routed.labels(expert).inc()
        if seen.first_token_s is not None:
            residency = _TEMPERATURE[seen.where]
            self._first_token.labels(expert, residency).observe(seen.first_token_s)
        if seen.load_s:
            self._loads.labels(expert).observe(seen.load_s)
        if seen.overflowed:
            self._overflows.labels(expert).inc()
        if seen.validation is not None:
            self._validations.labels(expert, seen.validation).inc()


@dataclass(frozen=True)
class Snapshot:
    """What the parts of a server count themselves, at one moment."""

    present: int = 0
    """Requests in the server."""
    waiting: int = 0
    """Those of them that the engine cannot work on yet."""
    experts: Mapping[str, int] = field(default_factory=dict)
    """State in the catalog → how many."""
    resident: Mapping[str, int] = field(default_factory=dict)
    """Place → how many experts and compositions are there."""
    loads: Mapping[str, int] = field(default_factory=dict)
    """Expert → how often it was read from disk."""
    evictions: Mapping[str, int] = field(default_factory=dict)
    """Expert → how often it gave its place to another."""


class StateCollector(Collector):
    """Asks for a snapshot whenever the metrics are asked for."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        self._labels = Labels()

    def describe(self) -> Iterable[Any]:
        """Names only: the registry must not need the server's state to register."""
        return self._families(Snapshot())

    def collect(self) -> Iterator[Any]:
        yield from self._families(self._snapshot())

    def _families(self, now: Snapshot) -> list[Any]:
        return [
            _gauge("requests_present", "Requests in the server.", now.present),
            _gauge("requests_waiting", "Requests beyond what runs together.", now.waiting),
            _labelled(
                GaugeMetricFamily, "experts", "Experts in the catalog.", "state", now.experts
            ),
            _labelled(
                GaugeMetricFamily, "experts_resident", "Experts loaded.", "place", now.resident
            ),
            _labelled(
                CounterMetricFamily,
                "loads",
                "Loads from disk.",
                "expert",
                self._bounded(now.loads),
            ),
            _labelled(
                CounterMetricFamily,
                "evictions",
                "Experts that made room for others.",
                "expert",
                self._bounded(now.evictions),
            ),
        ]

    def _bounded(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Counts under labels that are kept: one that changed would make two counts jump."""
        bounded: dict[str, int] = {}
        for name, count in counts.items():
            label = self._labels.of(name)
            bounded[label] = bounded.get(label, 0) + count
        return bounded


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"hive_{name}", text, value=value)


def _labelled(kind: Any, name: str, text: str, label: str, values: Mapping[str, int]) -> Any:
    family = kind(f"hive_{name}", text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family
