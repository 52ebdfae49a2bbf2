"""An engine without a model, for fast tests of the code around one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hive_expert.errors import AdapterError, Problem


class FakeEngine:
    """Keeps adapters in a dict; refuses those whose folder does not exist."""

    def __init__(self, delay: float = 0.0) -> None:
        self.adapters: dict[int, tuple[str, Path]] = {}
        self.loads = 0
        self._delay = delay

    async def add_adapter(self, name: str, adapter_id: int, path: Path) -> None:
        await asyncio.sleep(self._delay)
        if not path.is_dir():
            raise AdapterError(Problem(name, f"{path} is not a folder"))
        if adapter_id in self.adapters:
            raise AssertionError(f"adapter id {adapter_id} is used twice")
        self.loads += 1
        self.adapters[adapter_id] = (name, path)

    async def remove_adapter(self, adapter_id: int) -> None:
        await asyncio.sleep(self._delay)
        self.adapters.pop(adapter_id, None)
