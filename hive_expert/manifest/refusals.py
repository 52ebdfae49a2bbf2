"""What can be said of a field of a manifest, and the reasons for which a value is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from hive_expert.manifest.kernels import KERNELS
from hive_expert.manifest.metrics import SCORED, SHARES
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.pattern_effort import unsafe
from hive_expert.manifest.record import Record

Status: TypeAlias = Literal["enforced", "passed", "recorded", "refused"]

Scope: TypeAlias = Literal["train", "serve"]
"""Whom a field binds: `hive-train` alone, or whoever packs and serves the expert too."""


@dataclass(frozen=True, slots=True)
class Field:
    """A value in a manifest, with what is needed to judge it."""

    path: str
    value: Any
    parent: Record
    manifest: Manifest


Refusal: TypeAlias = Callable[[Field], str | None]


@dataclass(frozen=True, slots=True)
class Honoured:
    """How a field is honoured.

    ``detail`` says by what, or as what. ``unless`` puts into words when it is refused, or only
    recorded, all the same; ``refusal`` and ``idle`` decide that, each returning the reason.
    """

    status: Status
    detail: str
    unless: str = ""
    refusal: Refusal | None = None
    idle: Refusal | None = None


def values(reasons: Mapping[Any, str]) -> Refusal:
    return lambda field: reasons.get(field.value)


def when_true(reason: str) -> Refusal:
    return lambda field: reason if field.value else None


def not_the_first(field: Field) -> str | None:
    if not field.path.endswith("adapters[0].type"):
        return "one adapter for each base model is served by this version"
    return None


def scales_by_request(field: Field) -> str | None:
    """Of a rope scaling's name or its type."""
    if str(field.value).startswith("dynamic"):
        return "dynamic scaling depends on each request's length, and one engine serves all"
    return None


def shared_input(field: Field) -> str | None:
    shared = {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"} & set(field.value)
    if not shared:
        return None
    names = ", ".join(sorted(shared))
    return f"the engine computes {names} from an input that other modules share"


def not_applied(field: Field) -> str | None:
    applied = field.manifest.applied_soft_prompt
    if applied is None or field.parent is applied:
        return None
    return f"packed and shown, not applied: requests get {applied.name}"


def not_pinned(field: Field) -> str | None:
    return None if field.value else "not pinned: any weights of that name are accepted"


def no_grammar(field: Field) -> str | None:
    return None if field.value else "answers follow no grammar"


def grammar_off(field: Field) -> str | None:
    """Of what says how the grammar is used."""
    training = field.manifest.training
    on = training and training.decoding and training.decoding.use_grammar
    return None if on else "not applied: use_grammar is not true"


def grammar_off_or(*types: str) -> Refusal:
    """Of a file or schema that is not read under these values of `grammar_type`."""

    def reason(field: Field) -> str | None:
        chosen = field.parent.grammar_type  # type: ignore[attr-defined]  # a Decoding, by the path
        unread = f"not applied: grammar_type is {chosen}" if chosen in types else None
        return grammar_off(field) or unread

    return reason


def in_words(field: Field) -> str | None:
    regex = field.parent.regex  # type: ignore[attr-defined]  # a Limitation, by the path
    return None if regex else "for people: regex is not true"


def costly_pattern(field: Field) -> str | None:
    regex = field.parent.regex  # type: ignore[attr-defined]  # a Limitation, by the path
    if regex and (what := unsafe(field.value)):
        return f"the router does not run it on requests: it {what}"
    return None


def unknown_metrics(field: Field) -> str | None:
    """Of a list of metrics, or of thresholds by metric."""
    unknown = [name for name in field.value if name not in (*SHARES, *SCORED)]
    if not unknown:
        return None
    known = ", ".join((*SHARES, *SCORED))
    return f"hive-train evaluate does not measure {', '.join(unknown)}; known are {known}"


def unknown_kernel(field: Field) -> str | None:
    if field.value in KERNELS:
        return None
    return f"vLLM has no such kernel; known are {', '.join(KERNELS)}"
