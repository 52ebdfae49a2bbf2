"""What speaks for each expert in one request, and how probable that makes it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hive_expert.router import cues as form
from hive_expert.router.cues import cues_of, declared_dialect
from hive_expert.router.embeddings import COMPARED, Vector, unit
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


@dataclass(frozen=True, slots=True)
class Evidence:
    """One request against all experts of an index.

    Law: a value per expert depends on the other experts only by the two features that compare
    it with the best of them.
    """

    request: Request
    cues: Vector
    embedding: Vector
    dialect: str | None
    words: Sequence[str]
    """Of the instruction."""
    keywords: Sequence[Match]
    pairs: Vector
    """(experts, PAIR_FEATURES)."""
    log_odds: Vector
    """Per expert."""

    @property
    def general_question(self) -> bool:
        """A question about something, without a schema, code or data to work on."""
        return bool(self.cues[_GENERAL_QUESTION])


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a request's instruction is about, and its products with what experts say of theirs."""

    total: Vector
    """The sum of its tokens' vectors."""
    products: Vector
    """With the rows of the index's `said`."""


class Meanings:
    """The meanings of one conversation's requests, each looked at once.

    Law: a request that continues another means the sum of its parts; so the examples of a
    thousand experts are read once per message, not once per way to read it.
    """

    def __init__(self, index: RoutingIndex) -> None:
        self._index = index
        self._known: dict[Request, Meaning] = {}

    def of(self, request: Request) -> Meaning:
        meaning = self._known.get(request)
        if meaning is None:
            meaning = self._known[request] = self._look_at(request)
        return meaning

    def _look_at(self, request: Request) -> Meaning:
        if request.parts is None:
            total = self._index.embeddings.total(request.instruction)
            return Meaning(total, self._index.said @ total[:COMPARED])
        before, added = map(self.of, request.parts)
        return Meaning(before.total + added.total, before.products + added.products)


def gather(request: Request, index: RoutingIndex, meanings: Meanings | None = None) -> Evidence:
    """Judge one request; `meanings` are those of its conversation."""
    meaning = (meanings or Meanings(index)).of(request)
    words = words_of(request.instruction)
    cues, embedding, dialect = cues_of(request), unit(meaning.total), declared_dialect(request)
    keywords = index.keywords.find(words)
    pairs = np.zeros((len(PAIR_FEATURES), len(index.entries)), np.float32)
    if index.entries:
        _compare_meanings(pairs, index, meaning)
        _compare_keywords(pairs, index, keywords, in_general=bool(cues[_GENERAL_QUESTION]))
        _compare_dialects(pairs, index, dialect)
    log_odds = index.biases + (pairs * index.pair_weights).sum(axis=0)
    log_odds += index.judges.log_odds(
        request_features(cues, embedding), index.policy.terms_in(words)
    )
    if dialect is not None:
        log_odds += DECLARED * pairs[_OWN_DIALECT]
    return Evidence(request, cues, embedding, dialect, words, keywords, pairs.T, log_odds)


def excluded(evidence: Evidence, index: RoutingIndex) -> list[Match]:
    """Phrases of the demand that experts exclude."""
    request = evidence.request
    demand = request.demand
    words = evidence.words if demand is request.instruction else words_of(demand)
    return index.excluded.find(words)


def _compare_meanings(pairs: Vector, index: RoutingIndex, meaning: Meaning) -> None:
    boundary = len(meaning.products) - len(index.entries)
    compared = meaning.total[:COMPARED]
    length = math.sqrt(compared @ compared) or 1.0
    np.maximum.reduceat(meaning.products[:boundary], index.starts, out=pairs[_NEAREST])
    pairs[_NEAREST] /= length
    np.divide(meaning.products[boundary:], length, out=pairs[_DESCRIPTION])
    _beyond_rivals(pairs[_NEAREST], out=pairs[_NEAREST_BEYOND])


def _compare_keywords(
    pairs: Vector, index: RoutingIndex, keywords: Sequence[Match], *, in_general: bool
) -> None:
    scores = _keyword_scores(index, keywords)
    if scores:
        pairs[_KEYWORDS, list(scores)] = list(scores.values())
        _beyond_rivals(pairs[_KEYWORDS], out=pairs[_KEYWORDS_BEYOND])
        if in_general:
            pairs[_KEYWORDS_IN_GENERAL] = pairs[_KEYWORDS]


def _compare_dialects(pairs: Vector, index: RoutingIndex, dialect: str | None) -> None:
    if dialect is not None:
        own = index.dialects.get(dialect, [])
        pairs[_OTHER_DIALECT] = 1
        pairs[_OTHER_DIALECT, own] = 0
        pairs[_OWN_DIALECT, own] = 1


def _keyword_scores(index: RoutingIndex, keywords: Sequence[Match]) -> Mapping[int, float]:
    """Between 0 and 1, of experts that have any: matched words, phrases counting more, by the
    expert's priority."""
    found: defaultdict[int, float] = defaultdict(float)
    for match in keywords:
        for owner in match.owners:
            found[owner] += 0.5 + 0.5 * match.length
    return {
        owner: 1 - math.exp(-0.5 * score * (0.5 + index.entries[owner].priority))
        for owner, score in found.items()
    }


def _beyond_rivals(values: Vector, out: Vector) -> None:
    """Each value less the best of the others', which is 0 if there are none."""
    if len(values) == 1:
        out[:] = values
        return
    leader = int(values.argmax())
    best = values[leader]
    np.subtract(values, best, out=out)
    out[leader] = -np.inf  # the greatest of what is left is the best rival's
    out[leader] = -out.max()
