"""Whether a sound package is to be used. Pure; the trust store is a value here. SPEC section 5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from hive_expert.errors import Problem
from hive_expert.manifest.record import timestamp
from hive_expert.manifest.versions import precedence
from hive_expert.package.trust_store import TrustStore

__all__ = ["Decision", "PackageFacts", "Policy", "TrustStore", "decide"]


class Policy(StrEnum):
    """How much it takes for a package to be used; see :func:`decide`."""

    ENFORCE = "enforce"
    WARN = "warn"
    OFF = "off"


CLOCK_SKEW = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """What a package was found to be: its hashes fit, and so does its signature if it has one.

    ``model`` is the slug of its base model, ``digest`` what it is known by
    (`statement.package_digest`), ``key_id`` the key whose signature was verified (None: unsigned).
    ``publisher`` is only what the package says of itself.
    """

    name: str
    version: str
    model: str
    digest: str
    key_id: str | None
    publisher: str | None
    created_at: str

    @property
    def line(self) -> str:
        """What versions are counted in: an expert for one base model."""
        return f"{self.name}/{self.model}"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a package is used, why (or why not), and what is worth knowing all the same."""

    accepted: bool
    reasons: tuple[Problem, ...]
    warnings: tuple[str, ...] = ()
    signer: str | None = None
    """The trusted publisher whose key signed it, by the name the user gave."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    problem: Problem
    also_under_warn: bool = False


def decide(facts: PackageFacts, store: TrustStore, policy: Policy, now: datetime) -> Decision:
    """Whether to use a package. Pure; everything that loads or verifies one asks here.

    `enforce` refuses on any doubt. `warn` turns doubts into warnings, except about a revoked
    key: the user has said himself that it is not to be believed. `off` asks nothing.

    ``reasons`` say why it is refused, or why it is accepted.
    """
    signer = _trusted_signer(facts, store)
    if policy == Policy.OFF:
        return Decision(True, (Problem(facts.name, "trust is off"),), signer=signer)
    doubts = tuple(_doubts(facts, store))
    notes = tuple(_notes(facts, store, now))
    refusing = tuple(d.problem for d in doubts if policy != Policy.WARN or d.also_under_warn)
    if refusing:
        return Decision(False, refusing, notes, signer)
    if doubts:
        accepted = Problem(facts.name, "the trust policy only warns")
        return Decision(True, (accepted,), (*(str(d.problem) for d in doubts), *notes), signer)
    return Decision(True, (Problem(facts.name, f"signed by {signer}"),), notes, signer)


def _trusted_signer(facts: PackageFacts, store: TrustStore) -> str | None:
    key = store.keys.get(facts.key_id or "")
    return key.publisher if key and key.covers(facts.name) and not key.revoked else None


def _doubts(facts: PackageFacts, store: TrustStore) -> Iterator[_Doubt]:
    if facts.key_id is None:
        yield _Doubt(
            Problem(
                facts.name,
                "the package is not signed",
                "get a signed one, or sign your own with hive-build sign",
            )
        )
    elif (key := store.keys.get(facts.key_id)) is None:
        yield _Doubt(
            Problem(
                facts.name,
                f"signed by a key you do not trust, {facts.key_id[:16]}…"
                f" ({facts.publisher or 'no name'}, it says)",
                "get the publisher's .pub.json from a place you believe, then: hive trust add FILE",
            )
        )
    elif key.revoked:
        yield _Doubt(
            Problem(
                facts.name,
                f"signed by a key of {key.publisher} that you revoked at {key.revoked}",
                "get a package signed with another key",
            ),
            also_under_warn=True,
        )
    elif not key.covers(facts.name):
        yield _Doubt(
            Problem(
                facts.name,
                f"{key.publisher} is trusted for {', '.join(key.names)} only",
                "widen it with hive trust add --names",
            )
        )
    pin = store.pins.get(facts.name)
    if pin is not None and not pin.fits(facts.version, facts.digest):
        yield _Doubt(
            Problem(
                facts.name,
                f"is pinned to {pin}, and this is {facts.version}",
                f"move the pin: hive trust pin {facts.name} {facts.version}",
            )
        )
    seen = store.seen.get(facts.line)
    if pin is None and seen is not None and precedence(facts.version) < precedence(seen):
        yield _Doubt(
            Problem(
                facts.name,
                f"version {facts.version} goes back behind {seen}, which was used before",
                f"if you mean it: hive trust pin {facts.name} {facts.version}",
            )
        )


def _notes(facts: PackageFacts, store: TrustStore, now: datetime) -> Iterator[str]:
    """What is worth saying and refuses nothing."""
    key = store.keys.get(facts.key_id or "")
    if key and facts.publisher and facts.publisher != key.publisher:
        yield f"{facts.name}: names {facts.publisher} as its publisher; you know {key.publisher}"
    if facts.created_at > timestamp(now + CLOCK_SKEW):
        yield f"{facts.name}: says it was made in the future, at {facts.created_at}"
