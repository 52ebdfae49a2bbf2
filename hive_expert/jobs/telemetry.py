"""What is counted of jobs, beside the server's other metrics (`GET /metrics`).

Agents' names come from the operator's key files, never from a request; series by agent are left
out of what a caller gets who is told of himself alone (`observation.of_all_tenants`). How often
vLLM has interrupted a running request for a more urgent one is its own `vllm:num_preemptions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from hive_expert.jobs.request_rows import Answered
from hive_expert.serving.observation import of_all_tenants
from hive_expert.serving.telemetry import OTHERS, Labels

_WAIT_S = (0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 28800.0, 86400.0)
_RUN_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_NOBODY = "none"


class JobTelemetry:
    """Counters and histograms."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._labels = Labels()
        by_agent = CollectorRegistry()
        registry.register(_ByAgent(by_agent))
        self._requests = Counter(
            "hive_job_requests",
            "Requests of batches, by their final outcome.",
            ("agent", "result"),
            registry=by_agent,
        )
        self._tokens = Counter(
            "hive_job_tokens",
            "Tokens of batches' prompts and answers.",
            ("agent", "kind"),
            registry=by_agent,
        )
        self._retries = Counter(
            "hive_job_retries", "Requests of batches asked again.", ("agent",), registry=by_agent
        )
        self._steps = Counter(
            "hive_job_steps",
            "Steps of pipelines that were answered, by the verdict on the answer.",
            ("agent", "valid"),
            registry=by_agent,
        )
        self._wait = Histogram(
            "hive_job_wait_seconds",
            "From when its batch was made to a request's last turn.",
            ("agent",),
            registry=by_agent,
            buckets=_WAIT_S,
        )
        self._run = Histogram(
            "hive_job_run_seconds",
            "What answering a request of a batch took.",
            ("agent",),
            registry=by_agent,
            buckets=_RUN_S,
        )

    def answered(self, agent: str, answer: Answered, waited_s: float, took_s: float | None) -> None:
        """Count a request that will not be asked again; `took_s` is None if it never was."""
        label = self._labels.of(agent or _NOBODY)
        self._requests.labels(label, answer.state).inc()
        self._tokens.labels(label, "prompt").inc(answer.prompt_tokens)
        self._tokens.labels(label, "completion").inc(answer.completion_tokens)
        self._wait.labels(label).observe(waited_s)
        if took_s is not None:
            self._run.labels(label).observe(took_s)

    def stepped(self, agent: str, *, valid: bool) -> None:
        self._steps.labels(self._labels.of(agent or _NOBODY), "yes" if valid else "no").inc()

    def retried(self, agent: str) -> None:
        self._retries.labels(self._labels.of(agent or _NOBODY)).inc()


@dataclass(frozen=True)
class _ByAgent(Collector):
    """What is counted by agent, for those who may be told of all of them."""

    counted: CollectorRegistry

    def describe(self) -> Iterable[Any]:
        return self.counted.collect()

    def collect(self) -> Iterator[Any]:
        if of_all_tenants():
            yield from self.counted.collect()


@dataclass(frozen=True)
class JobSnapshot:
    """What the parts count themselves, at one moment."""

    batches: Mapping[str, int] = field(default_factory=dict)
    """State → how many."""
    waiting: Mapping[str, int] = field(default_factory=dict)
    """Class → requests of batches that wait for their turn."""
    in_server: int = 0
    """Requests of batches that the server is answering."""
    room: int = 0
    """How many there may be, beside what others ask just now."""
    agents: Sequence[tuple[str, int, int | None]] = ()
    """Agent, the tokens that it has used in the period at hand, and how many it may, if that is
    bounded."""


class JobCollector(Collector):
    """Asks for a snapshot whenever the metrics are asked for."""

    def __init__(self, snapshot: Callable[[], JobSnapshot]) -> None:
        self._snapshot = snapshot
        self._labels = Labels()

    def describe(self) -> Iterable[Any]:
        return _families(JobSnapshot(), self._labels)

    def collect(self) -> Iterator[Any]:
        yield from _families(self._snapshot(), self._labels)


def _families(now: JobSnapshot, labels: Labels) -> list[Any]:
    batches = GaugeMetricFamily("hive_batches", "Batches, by state.", labels=["state"])
    for state, count in sorted(now.batches.items()):
        batches.add_metric([state], count)
    waiting = GaugeMetricFamily(
        "hive_job_requests_waiting",
        "Requests of running batches that wait for their turn.",
        labels=["class"],
    )
    for name, count in sorted(now.waiting.items()):
        waiting.add_metric([name], count)
    return [
        batches,
        waiting,
        GaugeMetricFamily(
            "hive_job_requests_running",
            "Requests of batches that are being answered.",
            value=now.in_server,
        ),
        GaugeMetricFamily("hive_job_room", "How many of them there may be now.", value=now.room),
        *(_budgets(now.agents, labels) if of_all_tenants() else ()),
    ]


def _budgets(agents: Sequence[tuple[str, int, int | None]], labels: Labels) -> Iterator[Any]:
    used = GaugeMetricFamily(
        "hive_agent_tokens_used",
        "Tokens that an agent has used in its period, in batches and directly.",
        labels=["agent"],
    )
    allowed = GaugeMetricFamily(
        "hive_agent_tokens_allowed", "Tokens that it may use in a period.", labels=["agent"]
    )
    of_all: dict[str, int] = {}
    for agent, tokens, most in agents:
        label = labels.of(agent or _NOBODY)
        of_all[label] = of_all.get(label, 0) + tokens
        if most is not None and label != OTHERS:
            allowed.add_metric([label], most)
    for label, tokens in of_all.items():
        used.add_metric([label], tokens)
    yield used
    yield allowed
