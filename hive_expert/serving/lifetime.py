"""From a server that answers to one that has ended: draining, reloading, and the engine's death.

vLLM ends at once on SIGTERM, and with status 0 when its engine has died. Here SIGTERM lets what is
being answered finish; a second one, or the time limit, does not. SPEC section 10.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from hive_expert.engine.ending import Ending
from hive_expert.errors import HiveError, Problem
from hive_expert.serving.exit_deadline import exit_within
from hive_expert.serving.traffic import Traffic

log = logging.getLogger("hive_expert.serving")

LAST_WORDS_S = 5.0
"""How long the requests of a dead engine may take to tell their clients."""
GOOD_ORDER_S = 30.0
"""How long everything but answers may take to end; see `exit_deadline`."""
_TICK_S = 0.2
_POST_MORTEM_S = 2.0
"""How long the status of an engine that is known to be dead may be missing: the kernel closes a
process's files, by which vLLM sees its end, before it tells the parent how it ended."""

Step = Callable[[], Awaitable[None]]


@dataclass
class Reload:
    """What SIGHUP does: named steps, one after another. One that fails leaves things as they were.

    A part of the server that can be read anew adds its step while the server starts.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def add(self, name: str, step: Step) -> None:
        self.steps[name] = step

    def start(self) -> None:
        """Run the steps beside what else is going on."""
        task = asyncio.get_running_loop().create_task(self.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        for name, step in self.steps.items():
            try:
                await step()
            except HiveError as error:
                log.error("%s: not reloaded, the old ones stay: %s", name, error)
            else:
                log.info("%s: reloaded", name)


@dataclass
class Lifetime:
    """How one running server comes to its end."""

    client: Any
    """vLLM's engine client."""
    traffic: Traffic
    ending: Ending
    drain_s: float
    reload: Reload = field(default_factory=Reload)
    end_within: Callable[[float], None] = exit_within
    """Has the process end by then, if it does not by itself."""
    server: Any = None
    """uvicorn's server, once it listens."""

    async def run(self, app_state: Any) -> None:
        """Take over the signals once the server listens, then watch the engine."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.reload.start)
        # vLLM installs its handlers just before it starts the server.
        while not getattr(getattr(app_state, "server", None), "started", False):
            await self._look_at_engine()
            await asyncio.sleep(_TICK_S)
        self.server = app_state.server
        self.server.config.timeout_graceful_shutdown = self.drain_s
        for signal_ in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_, self.stop)
        while not await self._look_at_engine():
            await asyncio.sleep(_TICK_S)

    def stop(self) -> None:
        """End once all requests are answered, or the time for it is over; called again, at once."""
        if self.server.should_exit:
            log.info("stopping at once: %d requests are cut off", self.traffic.present)
            self.server.force_exit = True
            self.end_within(GOOD_ORDER_S)
            return
        if self.traffic.present:
            log.info(
                "stopping when %d requests are answered, within %g s (once more: at once)",
                self.traffic.present,
                self.drain_s,
            )
        self.ending.asked = True
        self.traffic.draining = True
        self.server.should_exit = True
        self.end_within(self.drain_s + GOOD_ORDER_S)

    async def _look_at_engine(self) -> bool:
        """Whether the engine has died; if so, end the server with the reason."""
        if self.ending.asked or not self.client.errored:
            return False
        self.ending.failure = await _post_mortem(self.client)
        log.critical("%s", self.ending.failure)
        self.traffic.draining = True
        self.end_within(LAST_WORDS_S + GOOD_ORDER_S)
        if self.server is not None:
            self.server.config.timeout_graceful_shutdown = LAST_WORDS_S
            self.server.should_exit = True
        return True


async def _post_mortem(client: Any) -> Problem:
    """What is known of an engine's death."""
    status = await _exit_status(client)
    if not status:
        return Problem("engine", "died", "see the log above; --supervise starts it again")
    if status == -signal.SIGKILL:
        remedy = "the kernel does so when memory runs out: try a smaller --kv-cache-gib"
        return Problem("engine", "was killed (SIGKILL)", remedy)
    how = f"died of {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return Problem("engine", how, "see the log above; --supervise starts it again")


async def _exit_status(client: Any) -> int | None:
    """How the first of the engine's processes ended; None if none of them has."""
    manager = getattr(getattr(client.engine_core, "resources", None), "engine_manager", None)
    if manager is None:
        return None
    deadline = time.monotonic() + _POST_MORTEM_S
    while not (finished := manager.finished_procs()) and time.monotonic() < deadline:
        await asyncio.sleep(_TICK_S / 4)
    return next((status for status in finished.values() if status), None)
