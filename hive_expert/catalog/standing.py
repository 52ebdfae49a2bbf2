"""Which of the experts that are there may be served, as things stand now. Pure.

Asked anew after every change, so that a key that was revoked, a pin that was moved or a required
expert that went away counts from then on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import TypeAlias

from hive_expert.catalog.catalog import Announced, Expert
from hive_expert.errors import Problem
from hive_expert.manifest.versions import precedence
from hive_expert.package.trust import PackageFacts, Policy, TrustStore, decide

Entry: TypeAlias = Expert | Announced
Reasons: TypeAlias = tuple[Problem, ...]


def refusals(
    entries: Sequence[Entry],
    trust: TrustStore,
    policy: Policy,
    now: datetime,
    *,
    kept: Collection[str] = (),
) -> dict[str, Reasons]:
    """Why entries are not served, by their source.

    An older version that lies beside a newer one is no step back: the name means the newer one, and
    the older is there for who asks for it. Alone it is refused as `decide` says, but for those
    whose source is in ``kept``: they have been served all the time, and what was to replace them
    failed.
    """
    refused = _untrusted(entries, trust, policy, now, kept)
    while missing := _without_required([e for e in entries if e.source not in refused]):
        refused |= missing
    return refused


def trust_beside(entry: Entry, others: Iterable[Entry], trust: TrustStore) -> TrustStore:
    """The trust store to verify an entry with, given what is served beside it."""
    facts = entry.facts
    if facts is None or not any(_is_newer(other.facts, facts) for other in others):
        return trust
    return trust.without_seen(facts.line)


def _is_newer(other: PackageFacts | None, facts: PackageFacts) -> bool:
    if other is None or other.line != facts.line:
        return False
    return precedence(other.version) > precedence(facts.version)


def _untrusted(
    entries: Sequence[Entry],
    trust: TrustStore,
    policy: Policy,
    now: datetime,
    kept: Collection[str],
) -> dict[str, Reasons]:
    judged = [(e.source, e.facts) for e in entries if e.facts is not None]
    refused: dict[str, Reasons] = {}
    by_line = sorted(judged, key=lambda pair: pair[1].line)
    for line, group in groupby(by_line, key=lambda pair: pair[1].line):
        known = trust
        for source, facts in sorted(group, key=lambda p: precedence(p[1].version), reverse=True):
            going_on = trust.without_seen(line) if source in kept else known
            decision = decide(facts, going_on, policy, now)
            if decision.accepted:
                known = trust.without_seen(line)
            else:
                refused[source] = decision.reasons
    return refused


def _without_required(entries: Sequence[Entry]) -> dict[str, Reasons]:
    names = {entry.name for entry in entries}
    refused: dict[str, Reasons] = {}
    for entry in entries:
        constraints = entry.manifest.constraints
        missing = sorted(set(constraints.requires) - names) if constraints else []
        if missing:
            refused[entry.source] = tuple(
                Problem("constraints.requires", f"{name} is not served here", f"install {name}")
                for name in missing
            )
    return refused
