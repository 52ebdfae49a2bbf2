"""What speaks for each expert in one request, and how probable that makes it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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

(
    _KEYWORDS,
    _KEYWORDS_BEYOND,
    _NEAREST,
    _NEAREST_BEYOND,
    _DESCRIPTION,
    _OWN_DIALECT,
    _OTHER_DIALECT,
    _KEYWORDS_IN_GENERAL,
) = range(len(PAIR_FEATURES))

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
    meanings = _meanings(requests, index)
    readings = [_read(request, index, meanings[request]) for request in requests]
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
            pairs=pairs[:, row].T,
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
    products: Vector
    """With the rows of the index's `said`."""

    @cached_property
    def length(self) -> float:
        return math.sqrt(self.total @ self.total) or 1.0

    @cached_property
    def embedding(self) -> Vector:
        return self.total / self.length

    def __add__(self, other: _Meaning) -> _Meaning:
        return _Meaning(self.total + other.total, self.products + other.products)


def _meanings(requests: Sequence[Request], index: RoutingIndex) -> Mapping[Request, _Meaning]:
    """Of all requests, and of the parts of those that were put together."""
    known: dict[Request, _Meaning] = {}
    for part in (part for request in requests for part in _parts(request)):
        if part not in known:
            total = index.embeddings.total(part.instruction)
            # One at a time: BLAS takes longer for a few vectors at once, since it copies all rows.
            known[part] = _Meaning(total, index.said @ total)
    for request in requests:
        if request not in known:
            first, *others = (known[part] for part in _parts(request))
            known[request] = sum(others, start=first)
    return known


def _parts(request: Request) -> Iterator[Request]:
    """The messages that a request was put together from, or itself."""
    if request.parts is None:
        yield request
    else:
        for part in request.parts:
            yield from _parts(part)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a request shows by itself, what it is about, and the keywords in it."""

    request: Request
    cues: Vector
    meaning: _Meaning
    dialect: str | None
    words: list[str]
    keywords: list[Match]


def _read(request: Request, index: RoutingIndex, meaning: _Meaning) -> _Reading:
    words = words_of(request.instruction)
    return _Reading(
        request,
        cues_of(request),
        meaning,
        declared_dialect(request),
        words,
        index.keywords.find(words),
    )


def _demanded(reading: _Reading) -> list[str]:
    demand = reading.request.demand
    return reading.words if demand is reading.request.instruction else words_of(demand)


def _pairs(index: RoutingIndex, readings: Sequence[_Reading]) -> Vector:
    """(PAIR_FEATURES, requests, experts): a feature's values lie together, as they are computed."""
    pairs = np.zeros((len(PAIR_FEATURES), len(readings), len(index.entries)), np.float32)
    if not index.entries:
        return pairs
    meanings = [reading.meaning for reading in readings]
    lengths = np.array([meaning.length for meaning in meanings], np.float32)[:, None]
    products: Vector = np.stack([meaning.products for meaning in meanings]) / lengths
    boundary = len(index.examples)
    pairs[_KEYWORDS] = _keyword_scores(index, readings)
    np.maximum.reduceat(products[:, :boundary], index.starts, axis=1, out=pairs[_NEAREST])
    compared = pairs[[_KEYWORDS, _NEAREST]]
    pairs[[_KEYWORDS_BEYOND, _NEAREST_BEYOND]] = compared - _rivals(compared)
    pairs[_DESCRIPTION] = products[:, boundary:]
    for row, reading in enumerate(readings):
        if reading.dialect is not None:
            pairs[_OTHER_DIALECT, row] = 1
            own = index.dialects.get(reading.dialect, [])
            pairs[_OWN_DIALECT, row, own] = 1
            pairs[_OTHER_DIALECT, row, own] = 0
        if reading.cues[_GENERAL_QUESTION]:
            pairs[_KEYWORDS_IN_GENERAL, row] = pairs[_KEYWORDS, row]
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
    """For each value the best one among the others of its row, 0 if there are none."""
    rows = values.reshape(-1, values.shape[-1])
    if rows.shape[1] < 2:
        return np.zeros_like(values)
    every, best = np.arange(len(rows)), rows.argmax(axis=1)
    others = rows.copy()
    others[every, best] = -np.inf
    rivals = np.empty_like(rows)
    rivals[:] = rows[every, best, None]
    rivals[every, best] = others.max(axis=1)
    return rivals.reshape(values.shape)


def _log_odds(index: RoutingIndex, readings: Sequence[_Reading], pairs: Vector) -> Vector:
    """(requests, experts)."""
    log_odds: Vector = DECLARED * pairs[_OWN_DIALECT] + index.biases
    log_odds += (pairs * index.pair_weights[:, None]).sum(axis=0)
    for row, reading in enumerate(readings):
        features = request_features(reading.cues, reading.meaning.embedding)
        log_odds[row] += index.judges.log_odds(features, index.policy.terms_in(reading.words))
    return log_odds
