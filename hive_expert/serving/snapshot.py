"""What the parts of a running server count themselves, gathered for the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hive_expert.serving.guard import Door
from hive_expert.serving.state import Hive
from hive_expert.serving.telemetry import Snapshot


def snapshot(hive: Hive, door: Door) -> Snapshot:
    """The state of a server at this moment.

    vLLM asks for the metrics in a thread, while the event loop goes on: what that changes is copied
    before it is gone through.
    """
    catalog, resident = hive.catalog, hive.resident
    return Snapshot(
        present=door.traffic.present,
        waiting=door.traffic.waiting,
        experts={
            "available": len(catalog.versions),
            "announced": len(catalog.announced),
            "unavailable": len(catalog.unavailable),
        },
        resident=resident.places(),
        loads=_by_label(resident.loads, resident.labels),
        evictions=_by_label(resident.evictions, resident.labels),
    )


def _by_label(counts: Mapping[str, int], labels: Mapping[str, str]) -> Counter[str]:
    """Counts by digest, under labels that stay few and stay the same: such counts only grow."""
    summed: Counter[str] = Counter()
    for digest, count in dict(counts).items():
        summed[labels[digest]] += count
    return summed
