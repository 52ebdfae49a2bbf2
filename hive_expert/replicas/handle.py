"""All replicas as the front sees them, by Ray Serve's handle."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from typing import Any

from ray.exceptions import RayActorError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import DeploymentUnavailableError, ReplicaUnavailableError

from hive_expert.errors import EngineError, Problem
from hive_expert.replicas.relay import Answer, Relayed, Spent
from hive_expert.replicas.retry import Piece

log = logging.getLogger("hive_expert.replicas")

ALL_LIMIT_S = 30.0
"""For all replicas to answer, each of which gives up sooner (`engine.WHOLE_LIMIT_S`)."""
SEEN_LIMIT_S = 10.0
"""For a new handle to be told of the replicas there are."""
LOOK_EVERY_S = 0.1


async def broadcast(
    handle: Any,
    method: str,
    *arguments: object,
    limit_s: float = ALL_LIMIT_S,
    return_exceptions: bool = False,
) -> list[Any]:
    """What a method of each of a deployment's replicas returns.

    A new handle knows no replicas yet: its requests wait for them, its `broadcast` (Ray 2.60) says
    that the deployment is not available. So it is asked again until it has been told of them.

    Raises:
        DeploymentUnavailableError: there are no replicas.
        TimeoutError: they did not answer within `limit_s` seconds.
        RayError: one of them failed, without `return_exceptions`.
    """
    until = time.monotonic() + SEEN_LIMIT_S
    while True:
        told_of_them = handle.running_replicas_populated()
        try:
            told = handle.broadcast(method, *arguments)
            results: list[Any] = await told.results_async(
                timeout_s=limit_s, return_exceptions=return_exceptions
            )
        except DeploymentUnavailableError:
            if told_of_them or time.monotonic() > until:
                raise
            await asyncio.sleep(LOOK_EVERY_S)
        else:
            return results


class RayEngines:
    """All replicas (`front.Engines`). What Ray raises becomes one of `lost`, or an EngineError."""

    lost: tuple[type[BaseException], ...] = (
        RayActorError,
        WorkerCrashedError,
        ReplicaUnavailableError,
    )

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def ask(self, request: Relayed) -> AsyncGenerator[Piece, None]:
        options: dict[str, Any] = {"stream": True, "method_name": "ask"}
        if request.experts:
            options["multiplexed_model_id"] = request.experts
        response = self._handle.options(**options).remote(request)
        ended = False
        try:
            async for piece in response:
                yield piece
            ended = True
        except self.lost:  # before RayTaskError: one may be both
            raise
        except RayTaskError as error:
            log.error("a replica failed: %s", error)
            raise EngineError(Problem("replica", "failed to answer", "see its log")) from error
        except DeploymentUnavailableError as error:
            raise EngineError(Problem("replicas", "there are none", "ask again")) from error
        finally:
            if not ended:
                response.cancel()

    async def ask_all(self, request: Relayed) -> list[Answer]:
        told: list[Answer | None] = await self._everywhere("whole", request)
        if None in told and request.method != "GET":
            raise EngineError(Problem("replicas", "one does not say that it did so", "ask again"))
        found = [answer for answer in told if answer is not None]
        if not found:
            raise EngineError(Problem("replicas", "none of them answers", "ask again"))
        return found

    async def alive(self) -> bool:
        try:
            return any(await self._everywhere("alive"))
        except EngineError:
            return False

    async def accounts(self, front: str) -> list[list[Spent]]:
        told: list[list[Spent]] = await self._everywhere("account", front)
        return told

    async def reload(self) -> None:
        await self._everywhere("reload")

    async def _everywhere(self, method: str, *arguments: object) -> list[Any]:
        """What a method of all replicas returns, of those that are there."""
        try:
            results = await broadcast(self._handle, method, *arguments, return_exceptions=True)
        except (DeploymentUnavailableError, TimeoutError):
            return []
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, self.lost):
                log.error("a replica failed: %s", result)
                raise EngineError(Problem("replica", "failed to answer", "see its log")) from result
        return [result for result in results if not isinstance(result, BaseException)]
