"""The manifest, version 2.0: what an expert is, what it was made from, what it claims.

Each class is one object of `manifest.json`; the text under a field is its documentation in the
JSON Schema and in `schemas/README.md`. SPEC section 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from hive_expert.manifest.adapter_model import BaseModelEntry, SoftPrompt
from hive_expert.manifest.patterns import flaw
from hive_expert.manifest.record import (
    Contradiction,
    Count,
    ExpertName,
    Flag,
    Fraction,
    Line,
    Positive,
    Real,
    Record,
    RelativePath,
    Sha256,
    Text,
    Timestamp,
)
from hive_expert.manifest.training_model import Training
from hive_expert.manifest.versions import SEMANTIC_VERSION

Capability = Annotated[
    str,
    Field(
        strict=True,
        max_length=128,
        pattern=r"^(task|feature|usecase|language|format|database):[^\s].*$",
    ),
]


MAX_LIMITATIONS = 100


def _few_enough(limitations: Any) -> Any:
    # Pydantic counts items after validating them, and these may have to be compiled.
    if isinstance(limitations, list | tuple) and len(limitations) > MAX_LIMITATIONS:
        raise PydanticCustomError(
            "too_many",
            "{found} are more than the {most} allowed",
            {"found": len(limitations), "most": MAX_LIMITATIONS},
        )
    return limitations


class Constraints(Record):
    """How the expert combines with others."""

    max_chain: Annotated[Positive, Field(le=10)] | None = None
    """At most so many experts in one composition with this one (1-10)."""
    load_order: Annotated[Positive, Field(le=10)] | None = None
    """Lower comes first: foundation 1-3, format 4-5, technology 6-7, task 8-10."""
    incompatible_with: tuple[ExpertName, ...] = ()
    """Experts this one must not be combined with."""
    requires: tuple[ExpertName, ...] = ()
    """Experts that must be there for this one to work."""

    def contradictions(self) -> Iterable[Contradiction]:
        for name in sorted(set(self.requires) & set(self.incompatible_with)):
            yield Contradiction("requires", f"{name} is also in incompatible_with")


class Limitation(Record):
    """Something the expert is known not to do.

    Law: what is flagged as a regular expression is one.
    """

    pattern: Line
    """What such a request looks like, in words, or as a regular expression (see `regex`)."""
    regex: Flag | None = None
    """Whether `pattern` is a regular expression by which the router abstains."""
    description: Text | None = None
    """What goes wrong."""
    example: Text | None = None
    """A request that shows it."""
    workaround: Text | None = None
    """What to do instead."""

    def contradictions(self) -> Iterable[Contradiction]:
        if self.regex and (what := flaw(self.pattern)):
            yield Contradiction("pattern", what)


class Routing(Record):
    """When `model=auto` should choose this expert."""

    keywords: tuple[Line, ...] = ()
    """Words and phrases that speak for it."""
    exclude_keywords: tuple[Line, ...] = ()
    """Words and phrases that speak against it."""
    examples: tuple[Line, ...] = ()
    """Requests it is meant for."""
    priority: Fraction | None = None
    """Its weight among experts that match equally well (0-1)."""


class QualityMetrics(Record):
    """What evaluation measured; written by `hive-train evaluate`."""

    benchmark_score: Real | None = None
    """The expert's score on its benchmark."""
    base_model_score: Real | None = None
    """The base model's score on the same benchmark."""
    improvement_percent: Real | None = None
    """How much better the expert does, in percent of the base model's score."""
    win_rate_vs_base: Fraction | None = None
    """Share of questions on which the expert's answer beats the base model's (0-1)."""
    test_queries: Count | None = None
    """How many questions were asked."""
    checkpoint: Line | None = None
    """The training checkpoint that was measured."""
    training_steps: Count | None = None
    """Optimizer steps up to that checkpoint."""
    test_date: (
        Annotated[str, Field(strict=True, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] | None
    ) = None
    """The day of the measurement (YYYY-MM-DD)."""


class Perf(Record):
    """What the expert costs; written by `hive-train evaluate --perf`."""

    latency_ms_overhead: Real | None = None
    """Added time to first token, in milliseconds, against the base model."""
    vram_mb_overhead: Annotated[Real, Field(ge=0)] | None = None
    """Memory the loaded adapter takes, in MiB."""
    supported_batch_sizes: tuple[Positive, ...] = ()
    """Batch sizes it was measured at."""


class Runtime(Record):
    """What the expert asks of the engine. Other keys are read, and refused by `validate`."""

    model_config = ConfigDict(extra="allow")

    attention_kernel: Line | None = None
    """The attention backend it needs."""
    requires_kv_cache_persistence: Flag | None = None
    """Whether it relies on a KV cache that outlives a request."""


class Evaluation(Record):
    """How the expert is tested."""

    test_cases: RelativePath | None = None
    """The file of test cases; `tests/test_cases.json` in a package."""
    metrics: tuple[Line, ...] = ()
    """The metrics to report: `correct`, `valid`, `clean`, `fields`, or what scores the cases."""
    thresholds: Mapping[Line, Real] = Field(default_factory=dict)
    """Lowest acceptable value of the expert by metric, as a share (0-1)."""


class Integrity(Record):
    """What the package consists of (SPEC section 4); written by `hive-build package` alone."""

    format: Literal[2]
    """Version of the package format."""
    algorithm: Literal["sha256"]
    """Hash of the members."""
    files: Mapping[str, Sha256]
    """Hash of every member except `manifest.json` and `signature.sig`."""
    created_at: Timestamp
    """When the package was made, UTC; 1970-01-01T00:00:00Z if it doesn't say."""
    publisher: Line | None = None
    """Who says they made it; only a trusted signature proves it."""
    key_id: Sha256 | None = None
    """SHA-256 of the raw public key that signs the package."""


class Manifest(Record):
    """One expert: the root of `manifest.json`.

    Laws: base models and soft prompts have distinct names; there is something to apply (an
    adapter for every base model, or a soft prompt); an expert neither requires nor excludes
    itself; `training.config` does not contradict the adapters.
    """

    name: ExpertName
    """`expert-` and a slug of a-z, 0-9 and single hyphens; at most 64 characters."""
    version: Annotated[str, Field(strict=True, max_length=64, pattern=SEMANTIC_VERSION)]
    """Semantic version."""
    schema_version: Literal["2.0"]
    """Version of this format."""
    description: Text | None = None
    """What the expert is for."""
    author: Line | None = None
    """Who made it."""
    homepage: Line | None = None
    """Where to read more."""
    license: Line | None = None
    """SPDX identifier, e.g. `Apache-2.0`."""
    base_models: Annotated[tuple[BaseModelEntry, ...], Field(min_length=1)]
    """The models the expert was trained for, each with its own adapters."""
    soft_prompts: tuple[SoftPrompt, ...] = ()
    """Learned vectors put before the prompt."""
    constraints: Constraints | None = None
    """How it combines with other experts."""
    capabilities: tuple[Capability, ...] = ()
    """What it can do, prefixed `task: feature: usecase: language: format: database:`."""
    limitations: Annotated[
        tuple[Limitation, ...], Field(max_length=MAX_LIMITATIONS), BeforeValidator(_few_enough)
    ] = ()
    """What it is known not to do."""
    routing: Routing | None = None
    """When `model=auto` should choose it."""
    training: Training | None = None
    """What it was trained from and how it decodes."""
    quality_metrics: QualityMetrics | None = None
    """What evaluation measured."""
    perf: Perf | None = None
    """What it costs."""
    runtime: Runtime | None = None
    """What it asks of the engine."""
    evaluation: Evaluation | None = None
    """How it is tested."""
    integrity: Integrity | None = None
    """What its package consists of."""

    @property
    def applied_soft_prompt(self) -> SoftPrompt | None:
        """The one soft prompt that requests get: the default, else the first."""
        defaults = [prompt for prompt in self.soft_prompts if prompt.default]
        return next(iter((*defaults, *self.soft_prompts)), None)

    def contradictions(self) -> Iterable[Contradiction]:
        yield from _repeated("base_models", "base model", [b.name for b in self.base_models])
        yield from _repeated("soft_prompts", "soft prompt", [s.name for s in self.soft_prompts])
        if sum(bool(s.default) for s in self.soft_prompts) > 1:
            yield Contradiction("soft_prompts", "more than one is the default", "keep one")
        if not self.soft_prompts:
            for entry in self.base_models:
                if not entry.adapters:
                    yield Contradiction(
                        "base_models",
                        f"{entry.name} has no adapters and there are no soft prompts",
                        "an expert must change something: list its adapters",
                    )
        if self.constraints and self.name in self.constraints.requires:
            yield Contradiction("constraints", f"requires {self.name}, which is this expert")
        if self.constraints and self.name in self.constraints.incompatible_with:
            yield Contradiction("constraints", f"excludes {self.name}, which is this expert")
        yield from self._training_against_adapters()

    def _training_against_adapters(self) -> Iterable[Contradiction]:
        config = self.training.config if self.training else None
        if config is None:
            return
        for entry in self.base_models:
            for adapter in entry.adapters:
                pairs: list[tuple[str, Any, Any]] = [
                    ("adapter_type", config.adapter_type, adapter.type),
                    ("rank", config.rank, adapter.r),
                    ("alpha", config.alpha, adapter.alpha),
                    ("target_modules", set(config.target_modules), set(adapter.target_modules)),
                ]
                for field, trained, stated in pairs:
                    if trained and stated and trained != stated:
                        yield Contradiction(
                            "training",
                            f"config.{field} differs from the adapter of {entry.name}",
                            "leave it out there: training reads the adapter's",
                        )


def _repeated(field: str, kind: str, names: list[str]) -> Iterable[Contradiction]:
    for name, count in Counter(names).items():
        if count > 1:
            yield Contradiction(field, f"the {kind} {name} is listed {count} times")
