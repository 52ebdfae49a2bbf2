"""What runs beside the requests as long as a server does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("hive_expert.serving")


def beside(what: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run something that nobody waits for; that it fails is logged when it does.

    The caller keeps the task: the event loop holds tasks only weakly.

    Args:
        what: it does, for the log.
    """
    task = asyncio.create_task(work, name=what)
    task.add_done_callback(_tell)
    return task


def _tell(task: asyncio.Task[None]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    what = "%s has failed; restart the server to have it again"
    log.critical(what, task.get_name(), exc_info=error)
