"""From settings to deployments of Ray Serve, and from signals to their end.

| signal | |
|---|---|
| SIGTERM, SIGINT | no new requests; those that are there are answered, then all replicas stop |
| SIGHUP | keys, agents and experts are read anew, by the front and all replicas |
| SIGUSR1 | replicas are replaced one after another, while the others answer |
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayActorError, RayError, WorkerCrashedError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import (
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from starlette.types import Message, Receive, Scope, Send

from hive_expert.errors import EngineError, HiveError, Problem, UsageError
from hive_expert.replicas.engine import EngineReplica
from hive_expert.replicas.front import build_app
from hive_expert.replicas.relay import Answer, Relayed
from hive_expert.replicas.retry import Piece
from hive_expert.replicas.settings import ReplicaSettings, Scaling
from hive_expert.serving.agents import Agents
from hive_expert.serving.guard import Door
from hive_expert.serving.logs import log_to
from hive_expert.serving.observation import REQUEST_ID

log = logging.getLogger("hive_expert.replicas")

APPLICATION = "hive"
STORE_BYTES = 200 * 2**20
"""Ray's shared memory on a machine of our own: requests and pieces of answers pass through it."""
STOP = (signal.SIGTERM, signal.SIGINT)
ALL_LIMIT_S = 30.0
STOP_LIMIT_S = 90.0
"""Beyond draining: what an engine may take to end."""


class RayEngines:
    """All replicas, by Ray Serve's handle (`front.Engines`)."""

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
        finally:
            if not ended:
                response.cancel()

    async def ask_all(self, request: Relayed) -> list[Answer]:
        found = await self._everywhere("whole", request)
        if not found:
            raise EngineError(Problem("replicas", "none of them answers", "ask again"))
        return found

    async def alive(self) -> bool:
        return any(await self._everywhere("alive"))

    async def reload(self) -> None:
        await self._everywhere("reload")

    async def _everywhere(self, method: str, *arguments: object) -> list[Any]:
        """What a method of all replicas returns, of those that are there."""
        try:
            told = self._handle.broadcast(method, *arguments)
            results = await told.results_async(timeout_s=ALL_LIMIT_S, return_exceptions=True)
        except (DeploymentUnavailableError, TimeoutError):
            return []
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, self.lost):
                raise result
        return [result for result in results if not isinstance(result, BaseException)]


class FrontDeployment:
    """The front, as Ray Serve runs it: an ASGI application and what can be told to it."""

    def __init__(self, settings: ReplicaSettings, handle: Any) -> None:
        log_to(sys.stderr, format_=settings.log_format, verbose=settings.verbose)  # type: ignore[arg-type]  # a click.Choice
        self._settings = settings.door
        self._engines = RayEngines(handle)
        self._door: Door = settings.door.open()

    def __serve_build_asgi_app__(self) -> Any:
        app = build_app(self._door, self._engines)

        async def without_its_id(scope: Scope, receive: Receive, send: Send) -> None:
            """Ray Serve's proxy adds the request's id itself."""

            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start":
                    kept = [h for h in message["headers"] if h[0].lower() != REQUEST_ID]
                    message["headers"] = kept
                await send(message)

            await app(scope, receive, sent)

        return without_its_id

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


def require_no_budgets(agents: Agents) -> None:
    """Raise UsageError if an agent's tokens are limited: each replica would count on its own."""
    if any(agent.tokens is not None for agent in (agents.default, *agents.named.values())):
        what = "limits tokens, and replicas do not count them together"
        raise UsageError(Problem("--agents", what, "leave tokens out, or --replicas"))


def run(settings: ReplicaSettings) -> None:
    """Serve until told to stop.

    Raises:
        EngineError: the port is taken, the cluster cannot be reached or is too small, or the
            replicas did not start.
    """
    require_port(settings.host, settings.port)
    require_no_budgets(settings.door.agents.load())
    with tempfile.TemporaryDirectory(prefix="hive-ray-", ignore_cleanup_errors=True) as folder:
        _connect(settings, folder)
        _serve(settings)


def _serve(settings: ReplicaSettings) -> None:
    try:
        settings = replace(settings, scaling=_shared_out(settings))
        _start(settings)
        count = settings.scaling.least
        log.info("ready: http://%s:%d/v1 (%d replicas)", settings.host, settings.port, count)
        asyncio.run(_attend(settings))
    finally:
        with suppress(RayServeException):
            if settings.address is not None:
                serve.delete(APPLICATION)
            # Of a cluster's own Ray Serve others may have use.
            if settings.address is None or not serve.status().applications:
                serve.shutdown()
        ray.shutdown()


async def _attend(settings: ReplicaSettings) -> None:
    """Do what signals say, one after another, until one says to stop."""
    told: asyncio.Queue[signal.Signals] = asyncio.Queue()
    # Ray has its own handlers until here.
    for known in (*STOP, signal.SIGHUP, signal.SIGUSR1):
        asyncio.get_running_loop().add_signal_handler(known, told.put_nowait, known)
    while (number := await told.get()) not in STOP:
        if number is signal.SIGHUP:
            await _reload()
        else:
            settings = await _replaced(settings)


async def _reload() -> None:
    """Tell the front; what is wrong with what it reads is logged, and the old stays."""
    try:
        told = serve.get_app_handle(APPLICATION).broadcast("reload")
        results = await told.results_async(timeout_s=ALL_LIMIT_S)
    except (RayError, RayServeException, TimeoutError) as error:
        log.error("not reloaded: %s", error)
        return
    for wrong in results:
        if wrong:
            log.error("not reloaded, the old ones stay: %s", wrong)
        else:
            log.info("keys, agents and experts: reloaded")


async def _replaced(settings: ReplicaSettings) -> ReplicaSettings:
    """Have every replica replaced by a new one of the same settings, some at a time."""
    launch = replace(settings.launch, generation=settings.launch.generation + 1)
    settings = replace(settings, launch=launch)
    log.info("replacing replicas one after another")
    try:
        await asyncio.to_thread(_start, settings)
    except EngineError as error:
        log.error("%s", error)
    else:
        log.info("all replicas are replaced")
    return settings


def application(settings: ReplicaSettings) -> Any:
    """The two deployments, bound."""
    scaling = settings.scaling

    class Engine(EngineReplica):
        hold = serve.multiplexed(max_num_models_per_replica=settings.experts_each)(
            EngineReplica.hold
        )

    engine = serve.deployment(
        name="engine",
        **_how_many(scaling),
        ray_actor_options={"num_cpus": scaling.cpus, "num_gpus": scaling.gpus},
        # More wait at the front, for whichever replica has a place first.
        max_ongoing_requests=settings.max_num_seqs,
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=settings.drain_s + STOP_LIMIT_S,
    )(Engine)
    places = settings.max_num_seqs * scaling.most
    traffic = replace(settings.door.traffic, running=places)
    front = serve.deployment(
        name="front",
        num_replicas=1,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=traffic.running + traffic.waiting + 64,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=settings.drain_s,
    )(serve.ingress()(FrontDeployment))
    fronted = replace(
        settings,
        launch=replace(settings.launch, generation=0),  # it stays while replicas are replaced
        door=replace(settings.door, traffic=traffic),
    )
    return front.bind(fronted, engine.bind(_launch(settings)))


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


def _connect(settings: ReplicaSettings, folder: str) -> None:
    """To a cluster, or a new one on the loopback; see `environment`."""
    how: dict[str, Any] = {"address": settings.address}
    if settings.address is None:
        how = {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": folder,
        }
    level = logging.INFO if settings.verbose else logging.ERROR
    try:
        ray.init(**how, namespace=APPLICATION, logging_level=level, log_to_driver=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EngineError(Problem("--ray-address", f"no Ray: {error}")) from error


def _shared_out(settings: ReplicaSettings) -> Scaling:
    """What each replica gets of the cluster, which must have enough for all.

    Raises:
        EngineError: it has not.
    """
    scaling, there = settings.scaling, ray.cluster_resources()
    cores, gpus = int(there.get("CPU", 0)), int(there.get("GPU", 0))
    cpus = scaling.cpus if scaling.cpus is not None else max(1, cores // scaling.most)
    each = scaling.gpus
    if each is None:
        each = settings.tensor_parallel_size if gpus else 0
    problems = [
        Problem(option, f"{scaling.most} replicas need {needed} {what}, there are {has}")
        for option, needed, has, what in (
            ("--replica-cpus", cpus * scaling.most, cores, "cores"),
            ("--replica-gpus", each * scaling.most, gpus, "GPUs"),
        )
        # A cluster that grows gets its machines when they are needed.
        if needed > has and settings.address is None
    ]
    if problems:
        raise EngineError(*problems)
    return replace(scaling, cpus=cpus, gpus=each)


def _start(settings: ReplicaSettings) -> None:
    """Deploy, and wait until the replicas are up."""
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
    _require_its_port(settings)
    try:
        serve.run(
            application(settings),
            name=APPLICATION,
            route_prefix="/",
            logging_config=_logging(settings),
        )
    except RuntimeError as error:
        raise EngineError(Problem("replicas", f"did not start: {error}", "see above")) from error


def _require_its_port(settings: ReplicaSettings) -> None:
    """Raise EngineError where Ray Serve runs already and listens elsewhere: it keeps its port."""
    http = _get_global_client().http_config
    if (http.host, http.port) != (settings.host, settings.port):
        what = f"Ray Serve runs in this cluster already, and listens on {http.host}:{http.port}"
        remedy = "take those, or end it (serve shutdown)"
        raise EngineError(Problem("--host, --port", what, remedy))


def _logging(settings: ReplicaSettings) -> dict[str, Any]:
    """Of Ray Serve itself; requests are our own log's matter."""
    level = "INFO" if settings.verbose else "WARNING"
    logging.getLogger("ray.serve").setLevel(level)
    return {"log_level": level, "enable_access_log": settings.verbose}


def require_port(host: str, port: int) -> None:
    """Raise EngineError if nobody could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            what = f"cannot listen: {error.strerror or error}"
            remedy = "choose another --port, or stop what listens there"
            raise EngineError(Problem(f"{host}:{port}", what, remedy)) from error
