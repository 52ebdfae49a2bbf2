"""What the parts of a running server count themselves, gathered for the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hive_expert.serving.guard import Door
from hive_expert.serving.state import Hive
from hive_expert.serving.telemetry import Snapshot


def snapshot(hive: Hive, door: Door) -> Snapshot:
    """The state of a server at this moment."""
    catalog, resident = hive.catalog, hive.resident
    names = {expert.digest: expert.name for expert in catalog.versions}
    return Snapshot(
        present=door.traffic.present,
        waiting=door.traffic.waiting,
        experts={
            "available": len(catalog.versions),
            "announced": len(catalog.announced),
            "unavailable": len(catalog.unavailable),
        },
        resident=Counter(resident.place(held) for held in resident.held()),
        loads=_by_name(resident.loads, names),
        evictions=_by_name(resident.evictions, names),
    )


def _by_name(counts: Mapping[str, int], names: Mapping[str, str]) -> Counter[str]:
    """Counts by digest, under names that stay few: versions of one expert count together."""
    named: Counter[str] = Counter()
    for digest, count in counts.items():
        named[names.get(digest, DEPARTED)] += count
    return named


DEPARTED = "composed or departed"
"""Compositions, and versions that are no longer served."""
