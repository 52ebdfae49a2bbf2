"""The decision: which experts answer, or the base model, and why. SPEC section 9.

Pure: the same messages, index, residency and settings give the same decision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hive_expert.router.combine import Choice, choose
from hive_expert.router.evidence import Evidence, Meanings, excluded, gather
from hive_expert.router.follow_up import is_follow_up
from hive_expert.router.index import RoutingIndex
from hive_expert.router.policy import PAIR_FEATURES
from hive_expert.router.turns import Request, Turn, continued, requests_of

Residency = Literal["slot", "cpu", "disk"]
_NEARNESS: Mapping[Residency, int] = {"slot": 2, "cpu": 1, "disk": 0}

SHOWN = 5
"""Candidates told in a decision."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How decisions are taken.

    `threshold` of None is the policy's own. Log-odds: `sticky` is added to the expert that
    answered the turn before, `follow_up` where the last turn only adds to it.
    """

    max_experts: int = 1
    threshold: float | None = None
    residency_margin: float = 0.05
    """Experts whose probability is so close to the best one's are told apart by residency."""
    sticky: float = 0.5
    follow_up: float = 2.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """How one expert fared."""

    name: str
    probability: float
    features: Mapping[str, float]
    keywords: tuple[str, ...] = ()
    ruled_out: str | None = None
    """Why it may not be chosen, however probable."""

    def as_json(self) -> dict[str, Any]:
        features = {name: round(value, 3) for name, value in self.features.items()}
        return asdict(self) | {"probability": round(self.probability, 4), "features": features}


@dataclass(frozen=True)
class Decision:
    """Who answers.

    Laws: `abstained` exactly if `experts` is empty, and then the base model answers; `score` is
    the probability of the best expert that was not ruled out; no expert that is chosen for
    itself is ruled out or less probable than the threshold.
    """

    experts: tuple[tuple[str, float], ...]
    score: float
    reasons: tuple[str, ...]
    abstained: bool
    verdict: Verdict | None = field(default=None, compare=False, repr=False)
    """What it was taken from; None where there was nothing to judge."""

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """How the most probable experts fared; worked out where somebody asks."""
        return () if self.verdict is None else tuple(_candidates(self.verdict))

    @property
    def model(self) -> str | None:
        """The request's `model` for this decision; None for the base model."""
        parts = (name if weight == 1 else f"{name}:{weight:g}" for name, weight in self.experts)
        return "+".join(parts) or None

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "experts": [{"name": name, "weight": weight} for name, weight in self.experts],
            "abstained": self.abstained,
            "score": round(self.score, 4),
            "reasons": list(self.reasons),
            "candidates": [candidate.as_json() for candidate in self.candidates],
        }


@dataclass(frozen=True, slots=True)
class _Judged:
    """One turn's verdict: probabilities after stickiness, by expert; who leads."""

    evidence: Evidence
    probabilities: NDArray[np.float64]
    ruled_out: Mapping[int, str]
    generic: bool
    kept: int | None = None
    """The expert of the turn before, where this turn only adds to it."""
    leader: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """How all experts fared with the last turn."""

    judged: _Judged
    index: RoutingIndex
    ruled_out: Mapping[int, str]
    """Why experts may not be chosen, by position; limitations count where an expert is probable
    enough to be."""


def route(
    messages: Sequence[Turn],
    index: RoutingIndex,
    residency: Mapping[str, Residency] | None = None,
    settings: Settings | None = None,
) -> Decision:
    """Decide who answers a conversation's last user message.

    `residency` says where experts' weights are; on disk unless it says otherwise.
    """
    settings = settings or Settings()
    requests = requests_of(messages)
    if not requests or requests[-1].is_empty:
        return _abstain("there is nothing to route: no text in the last user message")
    if not index.entries:
        return _abstain("there are no experts to choose from")
    meanings = Meanings(index)
    judged: _Judged | None = None
    for request in requests:
        if not request.is_empty:
            judged = _judge(request, index, settings, judged, meanings)
    assert judged is not None
    return _decide(judged, index, residency or {}, settings)


def _judge(
    request: Request,
    index: RoutingIndex,
    settings: Settings,
    before: _Judged | None,
    meanings: Meanings,
) -> _Judged:
    """One turn in the light of the one before: an addition to it is read together with it."""
    leader = before.leader if before else None
    threshold = _threshold(index, settings)
    evidence = gather(request, index, meanings)
    alone = evidence.log_odds.astype(np.float64)
    log_odds, kept = alone, None
    if before is not None and leader is not None:
        log_odds = alone.copy()
        log_odds[leader] += settings.sticky
        best = int(log_odds.argmax())
        turns_away = best != leader and _probability(alone[best]) >= threshold
        if not turns_away and is_follow_up(request):
            together = continued(before.evidence.request, request)
            evidence = gather(together, index, meanings)
            log_odds = evidence.log_odds.astype(np.float64)
            log_odds[leader] += settings.follow_up
            kept = leader
    probabilities = _probabilities(log_odds)
    ruled_out = {
        owner: f"the request says {match.phrase!r}, which it excludes"
        for match in excluded(evidence, index)
        for owner in match.owners
    }
    generic = evidence.general_question and evidence.dialect is None
    leader = None if generic else _leader(probabilities, threshold, ruled_out)
    return _Judged(evidence, probabilities, ruled_out, generic, kept, leader)


def _leader(
    probabilities: NDArray[np.float64], threshold: float, ruled_out: Mapping[int, str]
) -> int | None:
    """The most probable expert that may be chosen, the first by name of equals."""
    if ruled_out:
        probabilities = probabilities.copy()
        probabilities[list(ruled_out)] = -1.0
    best = int(probabilities.argmax())
    return best if probabilities[best] >= max(threshold, 0.0) else None


def _decide(
    judged: _Judged,
    index: RoutingIndex,
    residency: Mapping[str, Residency],
    settings: Settings,
) -> Decision:
    threshold = _threshold(index, settings)
    possible = _possible(judged.probabilities, threshold)
    ruled_out = {**_limitations(judged.evidence, index, possible), **judged.ruled_out}
    verdict = Verdict(judged, index, ruled_out)
    score = _best(judged.probabilities, ruled_out)
    if judged.generic:
        reason = "a general question, with nothing to work on: the base model answers"
        return Decision((), score, (reason,), True, verdict)
    choices = [
        Choice(
            entry,
            float(judged.probabilities[position]),
            _NEARNESS[residency.get(entry.name, "disk")],
        )
        for position in possible
        if position not in ruled_out
        for entry in [index.entries[position]]
    ]
    if not choices:
        reasons = tuple(_why_not(verdict, possible, score, threshold))
        return Decision((), score, reasons, True, verdict)
    selection = choose(
        choices, index, max_experts=settings.max_experts, margin=settings.residency_margin
    )
    if not selection.experts:
        return Decision((), score, selection.reasons, True, verdict)
    reasons = (*_why(judged, index, selection.experts[0][0], threshold), *selection.reasons)
    return Decision(selection.experts, score, reasons, False, verdict)


def _possible(probabilities: NDArray[np.float64], threshold: float) -> list[int]:
    """Positions of all experts probable enough, the most probable first; equals by name."""
    found: list[int] = (probabilities >= threshold).nonzero()[0].tolist()
    if len(found) > 1:
        found.sort(key=probabilities.__getitem__, reverse=True)
    return found


def _best(probabilities: NDArray[np.float64], ruled_out: Mapping[int, str]) -> float:
    """The greatest probability of one that may be chosen."""
    if ruled_out:
        probabilities = np.delete(probabilities, list(ruled_out))
    return float(probabilities.max(initial=0.0))


def _limitations(
    evidence: Evidence, index: RoutingIndex, positions: Sequence[int]
) -> dict[int, str]:
    """Why experts say of themselves that they can't, by position."""
    request = evidence.request
    reasons = {}
    for position in positions:
        for pattern in index.entries[position].limitations:
            found = pattern.search(request.text) or pattern.search(request.system)
            if found:
                said = f"the request says {found[0][:40]!r}, a limitation it declares"
                reasons[position] = said
                break
    return reasons


def _candidates(verdict: Verdict) -> Iterator[Candidate]:
    evidence, probabilities = verdict.judged.evidence, verdict.judged.probabilities
    shown = np.argsort(-probabilities, kind="stable")[:SHOWN].tolist()
    for position, values in zip(shown, evidence.pairs[shown].tolist(), strict=True):
        yield Candidate(
            name=verdict.index.entries[position].name,
            probability=float(probabilities[position]),
            features=dict(zip(PAIR_FEATURES, values, strict=True)),
            keywords=tuple(m.phrase for m in evidence.keywords if position in m.owners),
            ruled_out=verdict.ruled_out.get(position),
        )


def _why(judged: _Judged, index: RoutingIndex, name: str, threshold: float) -> Iterator[str]:
    position = index.positions[name]
    evidence = judged.evidence
    probability = float(judged.probabilities[position])
    yield f"{name} is right with probability {probability:.2f} (needs {threshold:.2f})"
    keywords = [match.phrase for match in evidence.keywords if position in match.owners]
    if keywords:
        yield f"keywords: {', '.join(keywords)}"
    if evidence.dialect is not None and evidence.dialect in index.entries[position].dialects:
        yield f"the messages declare the dialect {evidence.dialect}"
    yield f"nearest example: {evidence.pairs[position][2]:.2f}"
    if judged.kept == position:
        yield "the message adds to the one before, which it answered"


def _why_not(
    verdict: Verdict, possible: Sequence[int], score: float, threshold: float
) -> Iterator[str]:
    for position in possible[:SHOWN]:
        name = verdict.index.entries[position].name
        yield f"{name} is ruled out: {verdict.ruled_out[position]}"
    yield f"no expert is right with probability {threshold:.2f}; the best has {score:.2f}"


def _abstain(reason: str) -> Decision:
    return Decision((), 0.0, (reason,), True)


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(min(-log_odds, 60.0)))


def _threshold(index: RoutingIndex, settings: Settings) -> float:
    return index.policy.threshold if settings.threshold is None else settings.threshold


def _probabilities(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    probabilities: NDArray[np.float64] = 1 / (1 + np.exp(np.minimum(-log_odds, 60.0)))
    return probabilities
