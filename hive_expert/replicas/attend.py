"""What signals have a server with replicas do, until one says to stop.

| signal | |
|---|---|
| SIGTERM, SIGINT | no new requests; those that are there are answered, then all replicas stop |
| a second one | does not wait for answers |
| SIGHUP | keys, agents and experts are read anew, by the front and all replicas |
| SIGUSR1 | replicas are replaced one after another, while the others answer |
"""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus

from hive_expert.errors import EngineError
from hive_expert.replicas.deploy import FRONT, deploy, of_engines
from hive_expert.replicas.front_deployment import ENGINES
from hive_expert.replicas.handle import ALL_LIMIT_S, broadcast
from hive_expert.replicas.settings import ReplicaSettings

log = logging.getLogger("hive_expert.replicas")

STOP = (signal.SIGTERM, signal.SIGINT)
LOOK_EVERY_S = 0.5


async def attend(settings: ReplicaSettings) -> None:
    """Do what signals say, one after another, until one says to stop, whatever is going on."""
    stop: asyncio.Queue[signal.Signals] = asyncio.Queue()
    told: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for known in STOP:
        loop.add_signal_handler(known, stop.put_nowait, known)
    for known in (signal.SIGHUP, signal.SIGUSR1):
        loop.add_signal_handler(known, told.put_nowait, known)
    following = asyncio.create_task(_follow(told, settings))
    await stop.get()
    following.cancel()
    draining = asyncio.create_task(_drain(settings))
    again = asyncio.create_task(stop.get())
    await asyncio.wait({draining, again}, return_when=asyncio.FIRST_COMPLETED)
    draining.cancel()
    again.cancel()
    await _cut_off()


async def _follow(told: asyncio.Queue[signal.Signals], settings: ReplicaSettings) -> None:
    while True:
        if await told.get() is signal.SIGHUP:
            await _reload()
        else:
            await _replace(settings)


async def _drain(settings: ReplicaSettings) -> None:
    log.info("stopping when all are answered, within %g s (once more: at once)", settings.drain_s)
    try:
        await broadcast(_handle(), "drain", limit_s=settings.drain_s + ALL_LIMIT_S)
    except (RayError, RayServeException, TimeoutError) as error:
        log.error("not drained: %s", error)


async def _cut_off() -> None:
    try:
        left = sum(await broadcast(_handle(), "cut_off"))
    except (RayError, RayServeException, TimeoutError) as error:
        log.error("requests may be left: %s", error)
        return
    if left:
        log.warning("%d requests are cut off", left)


async def _reload() -> None:
    """Tell the front; what is wrong with what it reads is logged, and the old stays."""
    try:
        results = await broadcast(_handle(), "reload")
    except (RayError, RayServeException, TimeoutError) as error:
        log.error("not reloaded: %s", error)
        return
    for wrong in results:
        if wrong:
            log.error("not reloaded, the old ones stay: %s", wrong)
        else:
            log.info("keys, agents and experts: reloaded")


async def _replace(settings: ReplicaSettings) -> None:
    """Have every replica replaced by a new one of the same settings, some at a time: what is
    deployed again is new to Ray Serve, whether anything is different or not."""
    log.info("replacing replicas one after another")
    try:
        deploy([of_engines(settings)], wait=False)
        while (now := _status()) not in (
            ApplicationStatus.RUNNING,
            ApplicationStatus.DEPLOY_FAILED,
        ):
            await asyncio.sleep(LOOK_EVERY_S)
    except (RayError, RayServeException, EngineError) as error:
        log.error("not replaced: %s", error)
        return
    if now is ApplicationStatus.RUNNING:
        log.info("all replicas are replaced")
    else:
        log.error("not replaced: new ones do not start, see above")


def _handle() -> Any:
    """The front, to be told something. Ray Serve ends what listens for its changes long after our
    event loop has ended, so that must run in one of its own."""
    handle = serve.get_app_handle(FRONT)
    if not handle.is_initialized:
        handle._init(_run_router_in_separate_loop=True)
    return handle


def _status() -> ApplicationStatus:
    return serve.status().applications[ENGINES].status
