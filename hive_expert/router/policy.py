"""The mini-policy: from evidence to the probability that an expert is the right one.

One linear model per *subject* (a `task:` capability, such as `task:text-to-sql`) that labelled
queries were there to learn from, and a general one for experts of any other subject. The general
one sees only how a request relates to an expert's manifest (PAIR_FEATURES), so it serves experts
that nobody has heard of; a subject's model also sees the request itself. SPEC section 9.4.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hive_expert.errors import Problem, RoutingError
from hive_expert.router import cues
from hive_expert.router.embeddings import DIMENSIONS, Vector
from hive_expert.router.generic import CUES as GENERIC

FORMAT = 1
SHIPPED = Path(__file__).parent / "data" / "policy.json"

PAIR_FEATURES = (
    "keywords",
    "keywords beyond the rivals'",
    "nearest example",
    "nearest example beyond the rivals'",
    "description",
    "dialect is the expert's",
    "dialect is another's",
    "keywords in a general question",
)
"""What relates a request to one expert; each roughly between -1 and 1."""

GENERAL_CUES = (
    *GENERIC,
    "compares",
    "teaches",
    "general question",
    "other language",
    "other format",
    "prose",
    "greets",
)
"""Cues the general model sees as well: they speak against experts of every kind."""

REQUEST_FEATURES = (*cues.NAMES, *(f"embedding {i}" for i in range(DIMENSIONS)))

GENERAL_COLUMNS = np.array([cues.NAMES.index(name) for name in GENERAL_CUES])
"""Where REQUEST_FEATURES have them."""


@dataclass(frozen=True)
class LinearModel:
    """Log-odds = bias + pair · pair features + request · request features + its words' weights."""

    bias: float
    pair: Vector
    request: Vector
    words: Vector
    """Of the policy's vocabulary; empty in the general model."""


@dataclass(frozen=True)
class Policy:
    """All models, and the probability below which an expert is not chosen.

    Law: every weight is finite; `general` has a weight for each of GENERAL_CUES, a subject's
    model for each of REQUEST_FEATURES.
    """

    subjects: Mapping[str, LinearModel]
    general: LinearModel
    threshold: float
    vocabulary: tuple[str, ...] = ()
    """Words and pairs of words that the subjects' models have weights for."""

    @cached_property
    def columns(self) -> Mapping[str, int]:
        return {term: column for column, term in enumerate(self.vocabulary)}

    def terms_in(self, words: Sequence[str]) -> list[int]:
        """Columns of the vocabulary's terms among a request's words, each once, in order."""
        known = self.columns
        terms = [*words, *map(" ".join, itertools.pairwise(words))]
        return sorted({known[term] for term in terms if term in known})

    def model_of(self, subject: str | None) -> LinearModel:
        return self.subjects.get(subject, self.general) if subject else self.general


def request_features(cue_values: Vector, embedding: Vector) -> Vector:
    """What a subject's model sees of a request."""
    return np.concatenate([cue_values, embedding])


def general_features(cue_values: Vector) -> Vector:
    """What the general model sees of a request."""
    general: Vector = cue_values[GENERAL_COLUMNS]
    return general


def dump_policy(policy: Policy, notes: Mapping[str, Any]) -> bytes:
    """The policy as JSON, weights by feature name; `notes` say what it was trained from."""

    def one(model: LinearModel, names: tuple[str, ...]) -> dict[str, Any]:
        return {
            "bias": round(model.bias, 4),
            "pair": dict(zip(PAIR_FEATURES, _rounded(model.pair), strict=True)),
            "request": dict(zip(names, _rounded(model.request), strict=True)),
            "words": _rounded(model.words),
        }

    document = {
        "format": FORMAT,
        "notes": dict(notes),
        "threshold": policy.threshold,
        "vocabulary": list(policy.vocabulary),
        "general": one(policy.general, GENERAL_CUES),
        "subjects": {
            name: one(model, REQUEST_FEATURES) for name, model in sorted(policy.subjects.items())
        },
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def parse_policy(data: bytes, where: str) -> Policy:
    """The policy in a file that `dump_policy` wrote.

    Raises:
        RoutingError: it is none, or was trained for other features than this version computes.
    """
    problems: list[Problem] = []

    def one(entry: Any, path: str, names: tuple[str, ...]) -> LinearModel:
        groups = []
        for group, wanted in (("pair", PAIR_FEATURES), ("request", names)):
            weights = entry[group]
            if set(weights) != set(wanted):
                odd = ", ".join(sorted(set(weights) ^ set(wanted))[:3])
                problems.append(
                    Problem(f"{where}: {path}.{group}", f"other features: {odd}", _RETRAIN)
                )
            groups.append(np.array([weights.get(name, 0.0) for name in wanted], np.float32))
        words = np.array(entry["words"], np.float32)
        if names is REQUEST_FEATURES and len(words) != len(document["vocabulary"]):
            problems.append(Problem(f"{where}: {path}.words", "is not as long as the vocabulary"))
        groups.append(words)
        model = LinearModel(float(entry["bias"]), *groups)
        if not all(np.isfinite(g).all() for g in groups) or not np.isfinite(model.bias):
            problems.append(Problem(f"{where}: {path}", "a weight is not a finite number"))
        return model

    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise RoutingError(Problem(where, f"format {document['format']!r}", _RETRAIN))
        policy = Policy(
            {
                name: one(entry, f"subjects.{name}", REQUEST_FEATURES)
                for name, entry in document["subjects"].items()
            },
            one(document["general"], "general", GENERAL_CUES),
            float(document["threshold"]),
            tuple(map(str, document["vocabulary"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RoutingError(Problem(where, f"is no routing policy: {error!r}", _RETRAIN)) from error
    if not 0 <= policy.threshold <= 1:
        problems.append(Problem(f"{where}: threshold", "is not between 0 and 1"))
    if problems:
        raise RoutingError(*problems)
    return policy


@lru_cache(maxsize=1)
def shipped_policy() -> Policy:
    """The policy this version ships, read once per process."""
    return parse_policy(SHIPPED.read_bytes(), SHIPPED.name)


_RETRAIN = "train one with this version: hive-train router"


def _rounded(values: Vector) -> list[float]:
    return [round(float(value), 4) for value in values]
