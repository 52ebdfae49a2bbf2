"""Fits the router's mini-policy to labelled queries (`hive-train router`). SPEC section 9.4.

Plain logistic regression with an L2 penalty, solved to convergence, so that the same data give
the same policy. A query is shown with all experts as its catalog, and with one or two of them: a
policy has to work where only some are installed, and to leave the rest to the base model.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hive_expert.manifest.model import Manifest
from hive_expert.router.embeddings import Embeddings
from hive_expert.router.evidence import gather
from hive_expert.router.index import build_index
from hive_expert.router.keywords import words_of
from hive_expert.router.policy import (
    GENERAL_CUES,
    PAIR_FEATURES,
    REQUEST_FEATURES,
    LinearModel,
    Policy,
    general_features,
)
from hive_expert.router.queries import Query
from hive_expert.router.route import Settings, route
from hive_expert.router.turns import requests_of

Matrix = NDArray[np.float64]

PENALTY_PAIR = 0.0001
PENALTY_CUES = 0.0001
PENALTY_EMBEDDING = 0.0002
PENALTY_WORDS = 0.0002
MIN_COUNT = 4
"""Queries that must have a word for it to get a weight."""
WHOLE_CATALOG_WEIGHT = 8.0
"""A query with all experts there counts as much as with so many smaller catalogs."""

MIN_BASE_KEPT = 0.98
"""Share of base queries that stay on the base at the threshold chosen."""


@dataclass(frozen=True)
class Fitted:
    """A policy, and what it does on the queries its threshold was chosen by."""

    policy: Policy
    accuracy: float
    base_kept: float


def fit_policy(
    manifests: Sequence[Manifest],
    train: Sequence[Query],
    held_out: Sequence[Query],
    embeddings: Embeddings,
) -> Fitted:
    """Fit all models to `train`, choose the threshold by `held_out`, and fit again to both.

    What is told of the held-out queries is of the first fit, which had not seen them.
    """
    vocabulary = vocabulary_of(train)
    pairs = _observe(manifests, train, embeddings, vocabulary)
    chosen = choose_threshold(
        _policy(manifests, pairs, vocabulary), manifests, held_out, embeddings
    )
    both = (*train, *held_out)
    vocabulary = vocabulary_of(both)
    pairs = _observe(manifests, both, embeddings, vocabulary)
    policy = _policy(manifests, pairs, vocabulary)
    return replace(chosen, policy=replace(policy, threshold=chosen.policy.threshold))


def _policy(
    manifests: Sequence[Manifest], pairs: Sequence[_Pair], vocabulary: tuple[str, ...]
) -> Policy:
    """The models of all subjects, and the general one; the threshold is still to be chosen."""
    subjects = {m.name: subject for m in manifests if (subject := subject_of(m))}
    models = {
        subject: _fit([p for p in pairs if p.expert == name], subject, vocabulary)
        for name, subject in subjects.items()
    }
    return Policy(models, _fit(pairs, None, vocabulary), 0.5, vocabulary)


def vocabulary_of(queries: Sequence[Query]) -> tuple[str, ...]:
    """Words and pairs of words that several queries have in what they ask."""
    counts: Counter[str] = Counter()
    for query in queries:
        for request in requests_of(query.turns)[-1:]:
            words = words_of(request.instruction)
            counts.update({*words, *map(" ".join, itertools.pairwise(words))})
    return tuple(sorted(term for term, count in counts.items() if count >= MIN_COUNT))


def subject_of(manifest: Manifest) -> str | None:
    """The expert's first `task:` capability."""
    return next((c for c in manifest.capabilities if c.startswith("task:")), None)


def digest_of(*files: Path) -> str:
    """What a policy was trained from, to be written beside it."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def routed_by(manifest: Manifest) -> str:
    """A digest of what of a manifest the policy learns from: where it changes, train anew."""
    fields = {"description", "capabilities", "routing"}
    text = manifest.model_dump_json(include=fields | {"name"}, exclude_unset=True)
    return hashlib.sha256(text.encode()).hexdigest()


def choose_threshold(
    policy: Policy,
    manifests: Sequence[Manifest],
    queries: Sequence[Query],
    embeddings: Embeddings,
) -> Fitted:
    """The threshold of best accuracy among those that keep the base's queries on the base."""
    index = build_index(manifests, embeddings, policy)
    best = Fitted(policy, 0.0, 0.0)
    for threshold in np.arange(0.30, 0.91, 0.02):
        settings = Settings(threshold=round(float(threshold), 2))
        right, kept, base = 0, 0, 0
        for query in queries:
            answer = is_right(route(query.turns, index, settings=settings).experts, query)
            right += answer
            if not query.experts:
                base += 1
                kept += answer
        accuracy, share = right / len(queries), kept / max(base, 1)
        better = (share >= MIN_BASE_KEPT, accuracy) > (
            best.base_kept >= MIN_BASE_KEPT,
            best.accuracy,
        )
        if better:
            best = Fitted(replace(policy, threshold=settings.threshold or 0.5), accuracy, share)
    return best


def is_right(experts: Sequence[tuple[str, float]], query: Query) -> bool:
    """Whether only experts answer that should, or the base where it should."""
    names = {name for name, _ in experts}
    return names <= query.experts if names else not query.experts


@dataclass(frozen=True)
class _Pair:
    expert: str
    pair: NDArray[np.float32]
    cues: NDArray[np.float32]
    embedding: NDArray[np.float32]
    terms: NDArray[np.float32]
    right: bool
    weight: float


def _observe(
    manifests: Sequence[Manifest],
    queries: Sequence[Query],
    embeddings: Embeddings,
    vocabulary: tuple[str, ...],
) -> list[_Pair]:
    """Every query against every expert of the whole catalog, and of those with one or two."""
    blank = Policy({}, _zero(GENERAL_CUES), 0.5, vocabulary)
    catalogs = [
        chosen
        for size in sorted({1, 2, len(manifests)} & set(range(1, len(manifests) + 1)))
        for chosen in itertools.combinations(manifests, size)
    ]
    indexes = [build_index(chosen, embeddings, blank) for chosen in catalogs]
    pairs = []
    for query in queries:
        requests = requests_of(query.turns)
        if not requests or requests[-1].is_empty or len(requests) > 1:
            continue  # what was said before is judged by rules, not by these models
        terms = np.zeros(len(vocabulary), np.float32)
        terms[blank.terms_in(words_of(requests[-1].instruction))] = 1
        for index in indexes:
            evidence = gather(requests[-1], index)
            whole = len(index.entries) == len(manifests)
            for row, entry in enumerate(index.entries):
                pairs.append(
                    _Pair(
                        entry.name,
                        evidence.pairs[row],
                        evidence.cues,
                        evidence.embedding,
                        terms,
                        entry.name in query.experts,
                        WHOLE_CATALOG_WEIGHT if whole else 1.0,
                    )
                )
    return pairs


def _fit(pairs: Sequence[_Pair], subject: str | None, vocabulary: tuple[str, ...]) -> LinearModel:
    """One model; the general one sees neither the embedding nor the words."""
    if subject:
        blocks = [
            (np.stack([p.pair for p in pairs]), PENALTY_PAIR),
            (np.stack([p.cues for p in pairs]), PENALTY_CUES),
            (np.stack([p.embedding for p in pairs]), PENALTY_EMBEDDING),
            (np.stack([p.terms for p in pairs]), PENALTY_WORDS),
        ]
    else:
        blocks = [
            (np.stack([p.pair for p in pairs]), PENALTY_PAIR),
            (np.stack([general_features(p.cues) for p in pairs]), PENALTY_CUES),
        ]
    features = np.concatenate([block for block, _ in blocks], axis=1, dtype=np.float64)
    penalty = np.concatenate([np.full(block.shape[1], size) for block, size in blocks])
    right = np.array([p.right for p in pairs], np.float64)
    weights = np.array([p.weight for p in pairs], np.float64)
    bias, solution = logistic(features, right, weights / weights.sum(), penalty)
    pair, request = len(PAIR_FEATURES), len(REQUEST_FEATURES if subject else GENERAL_CUES)
    cut = solution.astype(np.float32)
    return LinearModel(bias, cut[:pair], cut[pair : pair + request], cut[pair + request :])


def logistic(
    features: Matrix, right: Matrix, weights: Matrix, penalty: Matrix, steps: int = 50
) -> tuple[float, Matrix]:
    """Bias and weights of least penalized log loss, by Newton's method with halved steps."""
    x = np.concatenate([np.ones((len(features), 1)), features], axis=1)
    strength = np.concatenate([[1e-6], penalty]) / 1.0
    w = np.zeros(x.shape[1])

    def loss(candidate: Matrix) -> float:
        z = x @ candidate
        log_loss = np.logaddexp(0, z) - right * z
        return float(weights @ log_loss + 0.5 * (strength * candidate) @ candidate)

    current = loss(w)
    for _ in range(steps):
        p = 1 / (1 + np.exp(-(x @ w)))
        gradient = x.T @ (weights * (p - right)) + strength * w
        curvature = (x * (weights * p * (1 - p))[:, None]).T @ x + np.diag(strength)
        direction = np.linalg.solve(curvature, gradient)
        size = 1.0
        while (after := loss(w - size * direction)) > current and size > 1e-4:
            size /= 2
        w = w - size * direction
        if current - after < 1e-10:
            break
        current = after
    return float(w[0]), w[1:]


def _zero(names: tuple[str, ...]) -> LinearModel:
    return LinearModel(
        0.0,
        np.zeros(len(PAIR_FEATURES), np.float32),
        np.zeros(len(names), np.float32),
        np.zeros(0, np.float32),
    )
