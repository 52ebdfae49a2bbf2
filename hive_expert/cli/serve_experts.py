"""What `hive-serve` does about its experts before there is an engine."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from rich.text import Text

from hive_expert.cli.serve_base import manifests_in
from hive_expert.cli.terminal import note

if TYPE_CHECKING:
    from hive_expert.catalog.catalog import Announced, Catalog, Expert
    from hive_expert.catalog.inventory import Inventory
    from hive_expert.catalog.scan import Host


def verify_ahead(inventory: Inventory, pins: tuple[str, ...]) -> None:
    """Verify what will be asked for first, and forget what was unpacked and nobody has used."""
    from hive_expert.catalog.scan import collect_garbage
    from hive_expert.errors import HiveError

    # Whatever fails here is met again by the endpoints, which report it.
    with suppress(HiveError):
        inventory.verify_ahead([pin.partition("@")[0] for pin in pins])
        collect_garbage(inventory.host, inventory.store)


def capacity_for(catalog: Catalog, host: Host, *, max_rank: int, max_slots: int, dtype: str) -> int:
    """How many experts a quarter of the free memory holds."""
    from hive_expert.catalog.memory import available_memory, planned_capacity

    return planned_capacity(
        manifests_in(catalog),
        host.weights.shapes,
        rank=max_rank,
        element_bytes=4 if dtype == "float32" else 2,
        slots=max_slots,
        available=available_memory(),
    )


MOST_REPORTED = 40
"""Experts that are listed at start, one a line."""


def report(catalog: Catalog) -> None:
    """Tell what is served, and what is not and why."""
    found: list[Expert | Announced] = [*catalog.versions, *catalog.announced]
    for expert in found[:MOST_REPORTED]:
        key = expert.facts.key_id if expert.facts else None
        signed = f"signed by {key[:12]}" if key else "unsigned"
        note(Text.assemble(("●", "green"), f" {expert.name} {expert.version} · {signed}"))
    if len(found) > MOST_REPORTED:
        note(f"  and {len(found) - MOST_REPORTED} more")
    for entry in catalog.unavailable:
        note(Text.assemble(("○", "red"), f" {entry.source} is not served"))
        for problem in entry.problems[:5]:
            note(f"  {problem}")
    if not found:
        note(Text("no expert to serve: only the base model will answer", "yellow"))
