"""Which experts a server has loaded, kept in a file: the next one loads them before it is ready.

The server itself reads and writes it, so that nothing is lost if it dies in the middle; whoever
supervises it knows by the file's presence that it was ready once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from hive_expert.errors import HiveError

log = logging.getLogger("hive_expert.serving")

_PERIOD_S = 0.5


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a server holds, as requests name it."""

    models: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recall:
    """A file that tells what was loaded."""

    path: Path

    def read(self) -> Loaded:
        """What was loaded; nothing if there is no file, or it is not ours."""
        try:
            found = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return Loaded()
        if not isinstance(found, dict):
            return Loaded()
        return Loaded(_words(found.get("models")), _words(found.get("pins")))

    def write(self, loaded: Loaded) -> None:
        """Replace the file as a whole."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(asdict(loaded)))
        new.replace(self.path)

    async def load(self, load: Callable[[str], Awaitable[object]]) -> None:
        """Load what was loaded before. What cannot be any more is left out, and logged."""
        for model in self.read().models:
            try:
                await load(model)
            except HiveError as error:
                log.warning("%s was loaded before and is not any more: %s", model, error)

    async def keep(self, loaded: Callable[[], Loaded]) -> None:
        """Write the file, and again whenever what is loaded changes."""
        written: Loaded | None = None
        while True:
            now = loaded()
            if now != written:
                with contextlib.suppress(OSError):
                    self.write(now)
                    written = now
            await asyncio.sleep(_PERIOD_S)


def _words(found: object) -> tuple[str, ...]:
    return tuple(w for w in found if isinstance(w, str)) if isinstance(found, list) else ()
