"""What speaks for each expert in one request, and how probable that makes it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hive_expert.router import cues as form
from hive_expert.router.cues import cues_of, declared_dialect
from hive_expert.router.embeddings import Vector
from hive_expert.router.index import RoutingIndex
from hive_expert.router.keywords import Match, words_of
from hive_expert.router.policy import PAIR_FEATURES, request_features
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
    return gather_all([request], index)[0]


def gather_all(requests: Sequence[Request], index: RoutingIndex) -> list[Evidence]:
    """Judge several requests; as each alone, with less to do for each."""
    meanings: dict[Request, _Meaning] = {}
    readings = [_read(request, index, meanings) for request in requests]
    pairs = _pairs(index, readings)
    log_odds = _log_odds(index, readings, pairs)
    return [
        Evidence(
            request=reading.request,
            cues=reading.cues,
            embedding=reading.meaning.embedding,
            dialect=reading.dialect,
            keywords=reading.keywords,
            excluded=index.excluded.find(_demanded(reading)),
            pairs=pairs[row],
            log_odds=log_odds[row],
        )
        for row, reading in enumerate(readings)
    ]


@dataclass(frozen=True)
class _Meaning:
    """What a request's instruction is about, and its products with what experts say of theirs.

    Law: those of a request that continues another are the sums of its parts'; so each part is
    looked at once, and so are the examples of a thousand experts.
    """

    total: Vector
    """The sum of its tokens' vectors."""
    examples: Vector
    descriptions: Vector

    @cached_property
    def length(self) -> float:
        return math.sqrt(self.total @ self.total) or 1.0

    @cached_property
    def embedding(self) -> Vector:
        return self.total / self.length

    def __add__(self, other: _Meaning) -> _Meaning:
        return _Meaning(
            self.total + other.total,
            self.examples + other.examples,
            self.descriptions + other.descriptions,
        )


def _meaning(request: Request, index: RoutingIndex, known: dict[Request, _Meaning]) -> _Meaning:
    if request not in known:
        if request.parts is not None:
            before, added = request.parts
            known[request] = _meaning(before, index, known) + _meaning(added, index, known)
        else:
            total = index.embeddings.total(request.instruction)
            known[request] = _Meaning(total, index.examples @ total, index.descriptions @ total)
    return known[request]


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a request shows by itself, what it is about, and the keywords in it."""

    request: Request
    cues: Vector
    meaning: _Meaning
    dialect: str | None
    words: list[str]
    keywords: list[Match]


def _read(request: Request, index: RoutingIndex, known: dict[Request, _Meaning]) -> _Reading:
    words = words_of(request.instruction)
    return _Reading(
        request,
        cues_of(request),
        _meaning(request, index, known),
        declared_dialect(request),
        words,
        index.keywords.find(words),
    )


def _demanded(reading: _Reading) -> list[str]:
    demand = reading.request.demand
    return reading.words if demand is reading.request.instruction else words_of(demand)


def _pairs(index: RoutingIndex, readings: Sequence[_Reading]) -> Vector:
    """(requests, experts, PAIR_FEATURES)."""
    pairs = np.zeros((len(readings), len(index.entries), len(PAIR_FEATURES)), np.float32)
    if not index.entries:
        return pairs
    keyword = _keyword_scores(index, readings)
    meanings = [reading.meaning for reading in readings]
    nearest: Vector = np.stack(
        [np.maximum.reduceat(m.examples, index.starts) / m.length for m in meanings]
    )
    pairs[..., 0] = keyword
    pairs[..., 1] = keyword - _rivals(keyword)
    pairs[..., 2] = nearest
    pairs[..., 3] = nearest - _rivals(nearest)
    for row, reading in enumerate(readings):
        pairs[row, :, 4] = reading.meaning.descriptions / reading.meaning.length
        if reading.dialect is not None:
            pairs[row, :, 5] = [reading.dialect in entry.dialects for entry in index.entries]
            pairs[row, :, 6] = 1 - pairs[row, :, 5]
        if reading.cues[_GENERAL_QUESTION]:
            pairs[row, :, 7] = keyword[row]
    return pairs


def _keyword_scores(index: RoutingIndex, readings: Sequence[_Reading]) -> Vector:
    """Between 0 and 1: matched words, phrases counting more, by the expert's priority."""
    scores = np.zeros((len(readings), len(index.entries)), np.float32)
    for row, reading in enumerate(readings):
        found: defaultdict[int, float] = defaultdict(float)
        for match in reading.keywords:
            for owner in match.owners:
                found[owner] += 0.5 + 0.5 * match.length
        if found:
            scores[row, list(found)] = list(found.values())
    weights: Vector = scores * (0.5 + index.priorities)
    saturated: Vector = 1 - np.exp(-0.5 * weights)
    return saturated


def _rivals(values: Vector) -> Vector:
    """For each expert of each request the best value among the others, 0 if there are none."""
    rows, best = np.arange(len(values)), values.argmax(axis=1)
    others = values.copy()
    others[rows, best] = -np.inf
    rivals = np.empty_like(values)
    rivals[:] = values[rows, best, None]
    rivals[rows, best] = others.max(axis=1) if values.shape[1] > 1 else 0.0
    return rivals


def _log_odds(index: RoutingIndex, readings: Sequence[_Reading], pairs: Vector) -> Vector:
    """(requests, experts)."""
    log_odds: Vector = (
        DECLARED * pairs[..., _OWN_DIALECT]
        + index.biases
        + np.einsum("rij,ij->ri", pairs, index.pair_weights)
    )
    for row, reading in enumerate(readings):
        features = request_features(reading.cues, reading.meaning.embedding)
        log_odds[row] += index.judges.log_odds(features, index.policy.terms_in(reading.words))
    return log_odds
