"""What the rest of the project needs of an engine, as small as possible."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class AdapterEngine(Protocol):
    """An engine that holds adapters under integer ids."""

    async def add_adapter(self, name: str, adapter_id: int, path: Path) -> None:
        """Load the PEFT directory `path` under an id never used before.

        Raises:
            AdapterError: the engine refuses this adapter; it goes on serving.
            EngineError: the engine is dead.
        """

    async def remove_adapter(self, adapter_id: int) -> None:
        """Forget an adapter and free its slot. Unknown ids are ignored.

        No request may be running with it: see `catalog.residency.Resident.using`.
        """
