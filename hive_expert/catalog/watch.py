"""When to look at the experts directory again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch

log = logging.getLogger("hive_expert.catalog")

DEBOUNCE_MS = 400
"""Changes that follow one another faster than this are told as one."""
AT_LEAST_EVERY_S = 30.0
"""Without any change: not every file system tells of all of them, and time alone changes some
things, such as a key that expires."""
POLL_S = 2.0
"""Where the file system tells of none."""


async def changes(directory: Path, *, every_s: float = AT_LEAST_EVERY_S) -> AsyncIterator[None]:
    """Yields when something below a directory has changed, and now and then in any case.

    Ends only when it is cancelled. A directory that goes away is looked for until it is back.
    """
    while True:
        try:
            async for _ in awatch(
                directory,
                debounce=DEBOUNCE_MS,
                step=DEBOUNCE_MS // 4,
                rust_timeout=int(every_s * 1000),
                yield_on_timeout=True,
            ):
                yield
        except (OSError, RuntimeError) as error:
            # No more watches to be had, or the directory is gone.
            log.debug("%s cannot be watched: %s", directory, error)
        await asyncio.sleep(POLL_S)
        yield
