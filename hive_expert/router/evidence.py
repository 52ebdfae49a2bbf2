"""What speaks for each expert in one request, and how probable that makes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hive_expert.router import cues as form
from hive_expert.router.cues import cues_of, declared_dialect
from hive_expert.router.embeddings import Vector
from hive_expert.router.index import RoutingIndex
from hive_expert.router.keywords import Match, words_of
from hive_expert.router.policy import PAIR_FEATURES, general_features, request_features
from hive_expert.router.turns import Request

_OWN_DIALECT = PAIR_FEATURES.index("dialect is the expert's")

DECLARED = 3.0
"""Log-odds that `Dialect:` adds for the experts it names: whoever writes it has chosen."""

_GENERAL_QUESTION = form.NAMES.index("general question")


@dataclass(frozen=True)
class Evidence:
    """One request against all experts of an index.

    Law: a value per expert depends on the other experts only by the two features that compare
    it with the best of them.
    """

    request: Request
    cues: Vector
    embedding: Vector
    dialect: str | None
    keywords: list[Match]
    excluded: list[Match]
    pairs: Vector
    """(experts, PAIR_FEATURES)."""
    log_odds: Vector
    """Per expert."""

    @property
    def general_question(self) -> bool:
        """A question about something, without a schema, code or data to work on."""
        return bool(self.cues[_GENERAL_QUESTION])


def gather(request: Request, index: RoutingIndex) -> Evidence:
    """Judge one request."""
    cues = cues_of(request)
    embedding = index.embeddings.embed(request.instruction)
    dialect = declared_dialect(request)
    words = words_of(request.instruction)
    keywords = index.keywords.find(words)
    pairs = _pairs(index, cues, embedding, dialect, keywords)
    return Evidence(
        request=request,
        cues=cues,
        embedding=embedding,
        dialect=dialect,
        keywords=keywords,
        excluded=index.excluded.find(words_of(request.demand)),
        pairs=pairs,
        log_odds=_log_odds(index, cues, embedding, words, pairs),
    )


def _pairs(
    index: RoutingIndex,
    cues: Vector,
    embedding: Vector,
    dialect: str | None,
    keywords: list[Match],
) -> Vector:
    pairs = np.zeros((len(index.entries), len(PAIR_FEATURES)), np.float32)
    if not len(pairs):
        return pairs
    keyword = _keyword_scores(index, keywords)
    nearest = np.maximum.reduceat(index.examples @ embedding, index.starts)
    pairs[:, 0] = keyword
    pairs[:, 1] = keyword - _rivals(keyword)
    pairs[:, 2] = nearest
    pairs[:, 3] = nearest - _rivals(nearest)
    pairs[:, 4] = index.descriptions @ embedding
    if dialect is not None:
        owners = [dialect in entry.dialects for entry in index.entries]
        pairs[:, 5] = owners
        pairs[:, 6] = 1 - pairs[:, 5]
    if cues[_GENERAL_QUESTION]:
        pairs[:, 7] = keyword
    return pairs


def _keyword_scores(index: RoutingIndex, keywords: list[Match]) -> Vector:
    """Between 0 and 1: matched words, phrases counting more, by the expert's priority."""
    scores = np.zeros(len(index.entries), np.float32)
    for match in keywords:
        scores[match.owners] += 0.5 + 0.5 * match.length
    weights: Vector = scores * (0.5 + index.priorities)
    saturated: Vector = 1 - np.exp(-0.5 * weights)
    return saturated


def _rivals(values: Vector) -> Vector:
    """For each expert the best value among the others, 0 if there are none."""
    best = int(values.argmax())
    rivals = np.full_like(values, values[best])
    rivals[best] = np.partition(values, -2)[-2] if len(values) > 1 else 0.0
    return rivals


def _log_odds(
    index: RoutingIndex, cues: Vector, embedding: Vector, words: list[str], pairs: Vector
) -> Vector:
    log_odds: Vector = (
        DECLARED * pairs[:, _OWN_DIALECT]
        + index.biases
        + np.einsum("ij,ij->i", pairs, index.pair_weights)
    )
    policy = index.policy
    terms = policy.terms_in(words)
    features = request_features(cues, embedding)
    for subject, members in index.groups:
        if subject is None:
            own = policy.general.request @ general_features(cues)
        else:
            model = policy.subjects[subject]
            own = model.request @ features + model.words[terms].sum()
        log_odds[members] += own
    return log_odds
