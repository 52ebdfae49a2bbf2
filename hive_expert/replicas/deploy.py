"""From settings to two applications of Ray Serve, the front and the engines, to their end.

Two, because Ray Serve replaces all of an application that is deployed again: the front would go
with the engines, and its clients' connections with it.

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
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from types import FrameType
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus
from starlette.types import Message, Receive, Scope, Send

from hive_expert.errors import EngineError, HiveError, Problem, UsageError
from hive_expert.replicas.cluster import (
    connect,
    has_serve,
    require_place,
    require_port,
    shared_out,
)
from hive_expert.replicas.engine import EngineReplica
from hive_expert.replicas.front import build_app
from hive_expert.replicas.handle import ALL_LIMIT_S, RayEngines, broadcast
from hive_expert.replicas.loopback import keep_inside
from hive_expert.replicas.settings import ReplicaSettings, Scaling
from hive_expert.serving.agents import Agents
from hive_expert.serving.guard import Door
from hive_expert.serving.logs import log_to
from hive_expert.serving.observation import REQUEST_ID

log = logging.getLogger("hive_expert.replicas")

FRONT, ENGINES = "hive", "hive-engines"
"""The applications' names. The engines have no route: only the front speaks to them."""
STOP = (signal.SIGTERM, signal.SIGINT)
STOP_LIMIT_S = 90.0
"""Beyond draining: what an engine may take to end."""
LOOK_EVERY_S = 0.5


class FrontDeployment:
    """The front, as Ray Serve runs it: an ASGI application and what can be told to it."""

    def __init__(self, settings: ReplicaSettings) -> None:
        keep_inside()
        log_to(sys.stderr, format_=settings.log_format, verbose=settings.verbose)  # type: ignore[arg-type]  # a click.Choice
        self._settings, self._drain_s = settings.door, settings.drain_s
        self._door: Door = settings.door.open()
        self._asked: set[asyncio.Future[None]] = set()

    def __serve_build_asgi_app__(self) -> Any:
        app = build_app(self._door, self._engines)

        async def without_its_id(scope: Scope, receive: Receive, send: Send) -> None:
            """Ray Serve's proxy adds the request's id itself."""

            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start":
                    kept = [h for h in message["headers"] if h[0].lower() != REQUEST_ID]
                    message["headers"] = kept
                await send(message)

            asked = asyncio.ensure_future(app(scope, receive, sent))
            self._asked.add(asked)
            try:
                await asked
            finally:
                self._asked.discard(asked)

        return without_its_id

    @cached_property
    def _engines(self) -> RayEngines:
        return RayEngines(serve.get_deployment_handle("engine", ENGINES))

    async def reload(self) -> str:
        """Have everything read anew; what is wrong with it, if something is."""
        try:
            keys = self._settings.keys.load(local=self._settings.local)
            agents = self._settings.agents.load()
            require_no_budgets(agents)
        except HiveError as error:
            return str(error)
        self._door.keys, self._door.ledger.agents = keys, agents
        await self._engines.reload()
        return ""

    async def drain(self) -> None:
        """Let nobody in any more, and wait until those who are there have their answers, or the
        time for it is over."""
        traffic, until = self._door.traffic, time.monotonic() + self._drain_s
        traffic.draining = True
        while traffic.present and time.monotonic() < until:
            await asyncio.sleep(LOOK_EVERY_S / 5)

    async def cut_off(self) -> int:
        """End the requests that are still there; how many. Ray Serve would wait for them."""
        self._door.traffic.draining = True
        asked = list(self._asked)
        for each in asked:
            each.cancel()
        return len(asked)


def require_no_budgets(agents: Agents) -> None:
    """Raise UsageError if an agent's tokens are limited: each replica would count on its own."""
    if any(agent.tokens is not None for agent in (agents.default, *agents.named.values())):
        what = "limits tokens, and replicas do not count them together"
        raise UsageError(Problem("--agents", what, "leave tokens out, or --replicas"))


def run(settings: ReplicaSettings) -> None:
    """Serve until told to stop.

    Raises:
        EngineError: the port is taken, the cluster cannot be reached, is too small or has another
            hive-serve, or the replicas did not start.
    """
    if settings.address is None:
        require_port(settings.host, settings.port)
    require_no_budgets(settings.door.agents.load())
    with tempfile.TemporaryDirectory(prefix="hive-ray-", ignore_cleanup_errors=True) as folder:
        connect(settings, folder, FRONT)
        _serve(settings)


def _serve(settings: ReplicaSettings) -> None:
    for known in STOP:  # until `_attend`; Ray's own handler would abort this process
        signal.signal(known, _give_up)
    # Others have use of a cluster's own Ray Serve: it goes on, whatever becomes of us.
    shared = settings.address is not None and has_serve()
    try:
        settings = replace(settings, scaling=shared_out(settings))
        _listen(settings, shared=shared)
        try:
            _deploy([_engines(settings), _front(settings)], wait=True)
            count = settings.scaling.least
            log.info("ready: http://%s:%d/v1 (%d replicas)", settings.host, settings.port, count)
            asyncio.run(_attend(settings))
        finally:
            # Before Ray Serve itself: it would end its proxy at once, with all connections.
            for name in (ENGINES, FRONT):
                with suppress(RayServeException, TimeoutError):
                    serve.delete(name)
    finally:
        with suppress(RayServeException):
            if not shared and (settings.address is None or not serve.status().applications):
                serve.shutdown()
        ray.shutdown()


def _give_up(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


async def _attend(settings: ReplicaSettings) -> None:
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
        _deploy([_engines(settings)], wait=False)
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


def engines(settings: ReplicaSettings) -> Any:
    """The engines' deployment, bound."""
    scaling = settings.scaling

    class Engine(EngineReplica):
        hold = serve.multiplexed(max_num_models_per_replica=settings.experts_each)(
            EngineReplica.hold
        )

    engine = serve.deployment(
        name="engine",
        **_how_many(scaling),
        # Of the number there is, rounded up: one. Where it would never find a place, nothing would
        # ever be replaced.
        max_surge_percent=1 if scaling.spare else 0,
        ray_actor_options={"num_cpus": scaling.cpus, "num_gpus": scaling.gpus},
        # More wait at the front, for whichever replica has a place first.
        max_ongoing_requests=settings.max_num_seqs,
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=settings.drain_s + STOP_LIMIT_S,
    )(Engine)
    return engine.bind(_launch(settings))


def front(settings: ReplicaSettings) -> Any:
    """The front's deployment, bound: one replica with places for all requests of the engines."""
    places = settings.max_num_seqs * settings.scaling.most
    traffic = replace(settings.door.traffic, running=places)
    deployment = serve.deployment(
        name="front",
        num_replicas=1,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=traffic.running + traffic.waiting + 64,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=settings.drain_s,
    )(serve.ingress()(FrontDeployment))
    return deployment.bind(replace(settings, door=replace(settings.door, traffic=traffic)))


def _how_many(scaling: Scaling) -> dict[str, Any]:
    if not scaling.varies:
        return {"num_replicas": scaling.least}
    return {
        "autoscaling_config": {
            "min_replicas": scaling.least,
            "max_replicas": scaling.most,
            "target_ongoing_requests": scaling.busy,
            "upscale_delay_s": scaling.up_s,
            "downscale_delay_s": scaling.down_s,
        }
    }


def _launch(settings: ReplicaSettings) -> Any:
    variables = dict(settings.launch.variables)
    if not settings.scaling.gpus:
        # Cores are Ray's to share out: vLLM would bind every engine to the first ones.
        variables |= {
            "OMP_NUM_THREADS": str(settings.scaling.cpus),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        }
    return replace(settings.launch, variables=variables)


def _listen(settings: ReplicaSettings, *, shared: bool) -> None:
    """Start Ray Serve with its proxy, unless the cluster's has a place for us."""
    if shared:
        require_place(settings, FRONT, ENGINES)
        return
    if settings.address is not None:
        require_port(settings.host, settings.port)
    serve.start(
        proxy_location="HeadOnly",
        http_options={
            "host": settings.host,
            "port": settings.port,
            # Longer than clients and proxies keep a connection.
            "keep_alive_timeout_s": 75,
        },
        logging_config=_logging(settings),
    )


def _engines(settings: ReplicaSettings) -> serve.RunTarget:
    logs = _logging(settings)
    return serve.RunTarget(engines(settings), name=ENGINES, route_prefix=None, logging_config=logs)


def _front(settings: ReplicaSettings) -> serve.RunTarget:
    logs = _logging(settings)
    return serve.RunTarget(front(settings), name=FRONT, route_prefix="/", logging_config=logs)


def _deploy(targets: list[serve.RunTarget], *, wait: bool) -> None:
    try:
        serve.run_many(targets, wait_for_applications_running=wait)
    except RuntimeError as error:
        raise EngineError(Problem("replicas", f"did not start: {error}", "see above")) from error
    except RayServeException as error:  # an application of somebody else is in the way
        refused = error.cause if isinstance(error, RayTaskError) else error
        raise EngineError(Problem("--ray-address", str(refused))) from error


def _logging(settings: ReplicaSettings) -> dict[str, Any]:
    """Of Ray Serve itself; requests are our own log's matter."""
    level = "INFO" if settings.verbose else "WARNING"
    logging.getLogger("ray.serve").setLevel(level)
    return {"log_level": level, "enable_access_log": settings.verbose}
