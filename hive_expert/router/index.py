"""What the router knows of all experts, compiled once from their manifests."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hive_expert.errors import Problem, RoutingError
from hive_expert.manifest.model import Constraints, Manifest
from hive_expert.router.embeddings import Embeddings, Vector, comparable
from hive_expert.router.keywords import Automaton
from hive_expert.router.limits import limitation_patterns
from hive_expert.router.policy import (
    GENERAL_COLUMNS,
    PAIR_FEATURES,
    REQUEST_FEATURES,
    Policy,
)
from hive_expert.router.turns import instruction_of

DEFAULT_PRIORITY = 0.5
_TASK = "task:"
_DIALECT_PREFIXES = ("language:", "format:", "database:")


@dataclass(frozen=True, slots=True)
class Entry:
    """One expert, as routing sees it."""

    name: str
    subject: str | None
    """The first of its `task:` capabilities that the policy knows."""
    dialects: frozenset[str]
    """What may stand after `Dialect:` to mean it."""
    priority: float
    constraints: Constraints
    limitations: tuple[re.Pattern[str], ...]


@dataclass(frozen=True, slots=True)
class Judges:
    """The policy's models that judge an index's experts by the request itself, stacked.

    Law: the general model, which sees GENERAL_CUES alone, has weight zero for all else.
    """

    request: Vector
    """(models, REQUEST_FEATURES)."""
    words: Vector
    """(models, the policy's vocabulary)."""
    of: NDArray[np.intp]
    """Which of them judges each expert."""

    def log_odds(self, features: Vector, terms: list[int]) -> Vector:
        """What the request alone says for each expert."""
        by_model: Vector = self.request @ features + self.words[:, terms].sum(axis=1)
        by_expert: Vector = by_model[self.of]
        return by_expert


@dataclass(frozen=True)
class RoutingIndex:
    """All experts' evidence, compiled.

    Laws: `entries` are ordered by name, so that the order of the manifests makes no difference;
    expert i owns the rows `starts[i]` up to `starts[i + 1]` of `examples`, at least one, and the
    i-th of `descriptions`.
    """

    entries: tuple[Entry, ...]
    positions: Mapping[str, int]
    dialects: Mapping[str, Sequence[int]]
    """Positions of the experts that a word after `Dialect:` means."""
    keywords: Automaton
    excluded: Automaton
    said: Vector
    """What experts say of themselves, comparable: `examples`, and below them `descriptions`."""
    starts: NDArray[np.intp]
    pair_weights: Vector
    """(PAIR_FEATURES, experts)."""
    biases: Vector
    judges: Judges
    policy: Policy
    embeddings: Embeddings
    warnings: tuple[str, ...]
    """What of the manifests is not used, and why."""

    @property
    def examples(self) -> Vector:
        return self.said[: len(self.said) - len(self.entries)]

    @property
    def descriptions(self) -> Vector:
        return self.said[len(self.said) - len(self.entries) :]


def build_index(
    manifests: Iterable[Manifest], embeddings: Embeddings, policy: Policy
) -> RoutingIndex:
    """Compile the manifests, one per name.

    Raises:
        RoutingError: two manifests have the same name.
    """
    ordered = sorted(manifests, key=lambda manifest: manifest.name)
    _refuse_twins(ordered)
    warnings: list[str] = []
    entries = []
    for manifest in ordered:
        patterns, refused = limitation_patterns(manifest)
        warnings += refused
        entries.append(_entry(manifest, policy, patterns))
    examples = [_examples(manifest, embeddings) for manifest in ordered]
    descriptions = comparable(embeddings, [_description(manifest) for manifest in ordered])
    models = [policy.model_of(entry.subject) for entry in entries]
    return RoutingIndex(
        entries=tuple(entries),
        positions={entry.name: position for position, entry in enumerate(entries)},
        dialects=_dialects(entries),
        keywords=Automaton(_phrases(ordered, "keywords")),
        excluded=Automaton(_phrases(ordered, "exclude_keywords")),
        said=np.concatenate([*examples, descriptions]),
        starts=np.cumsum([0, *(len(rows) for rows in examples)])[:-1],
        pair_weights=np.array([model.pair for model in models], np.float32)
        .reshape(len(models), len(PAIR_FEATURES))
        .T.copy(),
        biases=np.array([model.bias for model in models], np.float32),
        judges=_judges(entries, policy),
        policy=policy,
        embeddings=embeddings,
        warnings=tuple(warnings),
    )


def _refuse_twins(manifests: list[Manifest]) -> None:
    counts = Counter(manifest.name for manifest in manifests)
    twins = [name for name, count in counts.items() if count > 1]
    if twins:
        raise RoutingError(
            *(Problem(name, "is there twice", "give one version of each expert") for name in twins)
        )


def _entry(manifest: Manifest, policy: Policy, patterns: list[re.Pattern[str]]) -> Entry:
    tasks = [text for text in manifest.capabilities if text.startswith(_TASK)]
    priority = manifest.routing.priority if manifest.routing else None
    return Entry(
        name=manifest.name,
        subject=next((task for task in tasks if task in policy.subjects), None),
        dialects=frozenset(
            text.removeprefix(prefix).casefold()
            for text in manifest.capabilities
            for prefix in _DIALECT_PREFIXES
            if text.startswith(prefix)
        ),
        priority=DEFAULT_PRIORITY if priority is None else float(priority),
        constraints=manifest.constraints or Constraints(),
        limitations=tuple(patterns),
    )


def _examples(manifest: Manifest, embeddings: Embeddings) -> Vector:
    """Vectors of the example requests; of the description where there are none."""
    texts = manifest.routing.examples if manifest.routing else ()
    if not texts:
        texts = (_description(manifest),)
    return comparable(embeddings, [instruction_of(text) for text in texts])


def _description(manifest: Manifest) -> str:
    abilities = (text.partition(":")[2].replace("-", " ") for text in manifest.capabilities)
    return " ".join([manifest.description or "", *abilities]).strip() or manifest.name


def _phrases(manifests: list[Manifest], field: str) -> Iterable[tuple[str, int]]:
    for position, manifest in enumerate(manifests):
        if manifest.routing:
            for phrase in getattr(manifest.routing, field):
                yield phrase, position


def _dialects(entries: list[Entry]) -> Mapping[str, Sequence[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for position, entry in enumerate(entries):
        for dialect in entry.dialects:
            found[dialect].append(position)
    return dict(found)


def _judges(entries: list[Entry], policy: Policy) -> Judges:
    subjects = sorted({entry.subject for entry in entries}, key=lambda s: s or "")
    rows = {subject: row for row, subject in enumerate(subjects)}
    request = np.zeros((len(subjects), len(REQUEST_FEATURES)), np.float32)
    words = np.zeros((len(subjects), len(policy.vocabulary)), np.float32)
    for row, subject in enumerate(subjects):
        if subject is None:
            request[row, GENERAL_COLUMNS] = policy.general.request
        else:
            request[row], words[row] = (
                policy.subjects[subject].request,
                policy.subjects[subject].words,
            )
    return Judges(request, words, np.array([rows[e.subject] for e in entries], np.intp))
