"""What one running server holds, and how `hive-serve` hands it to the endpoint plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hive_expert.catalog.catalog import Catalog, Expert
from hive_expert.catalog.residency import Residency, Resident
from hive_expert.decoding.contract import Contract


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The user's decisions that concern requests, and the catalog of the start-up scan."""

    catalog: Catalog
    base_names: tuple[str, ...]
    flags: Mapping[str, float | int] = field(default_factory=dict)
    """Decoding fields given on the command line; they beat manifests (SPEC §7)."""
    ignore_manifest_decoding: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Who answers a request: the base model (no expert) or one expert."""

    model: str
    """The name vLLM knows it by."""
    expert: Expert | None
    contract: Contract
    residency: Residency


@dataclass
class Hive:
    """The live side of a server. The catalog is replaced whole, never edited."""

    settings: ServeSettings
    resident: Resident
    catalog: Catalog
    engine_client: Any
    announced: set[str] = field(default_factory=set)
    """Digests whose decoding has been logged."""

    async def target(self, model: str | None) -> Target:
        """Resolve the `model` of a request, loading the expert if it is not in memory.

        Raises:
            UnknownExpertError: no such model; names the nearest.
            CatalogError: it is known but unavailable.
            AdapterError: the engine refuses the adapter.
        """
        if not model or model in self.settings.base_names:
            return Target(self.settings.base_names[0], None, Contract.EMPTY, Residency("hit"))
        expert = self.catalog.find(model)
        residency = await self.resident.ensure(expert)
        return Target(expert.engine_name, expert, expert.contract, residency)
