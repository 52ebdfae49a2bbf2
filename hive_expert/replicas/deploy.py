"""From settings to two applications of Ray Serve, the front and the engines.

Two, because Ray Serve replaces all of an application that is deployed again: the front would go
with the engines, and its clients' connections with it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from ray import serve
from ray.exceptions import RayTaskError
from ray.serve.exceptions import RayServeException

from hive_expert.errors import EngineError, Problem
from hive_expert.replicas.engine import EngineReplica
from hive_expert.replicas.front_deployment import ENGINES, FrontDeployment
from hive_expert.replicas.settings import Launch, ReplicaSettings, Scaling

FRONT = "hive"
"""The front's application."""
STOP_LIMIT_S = 90.0
"""Beyond draining: what an engine may take to end."""


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
        ray_actor_options={
            "num_cpus": 0,
            "resources": {} if settings.machine is None else {settings.machine: 0.001},
        },
        # Beside those that ask a model there are streams of events and uploads, and who looks in.
        max_ongoing_requests=traffic.running + traffic.waiting + 192,
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


def _launch(settings: ReplicaSettings) -> Launch:
    variables = dict(settings.launch.variables)
    if not settings.scaling.gpus:
        # Cores are Ray's to share out: vLLM would bind every engine to the first ones.
        variables |= {
            "OMP_NUM_THREADS": str(settings.scaling.cpus),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        }
    return replace(settings.launch, variables=variables)


def of_engines(settings: ReplicaSettings) -> serve.RunTarget:
    logs = logging_of(settings)
    return serve.RunTarget(engines(settings), name=ENGINES, route_prefix=None, logging_config=logs)


def of_front(settings: ReplicaSettings) -> serve.RunTarget:
    logs = logging_of(settings)
    return serve.RunTarget(front(settings), name=FRONT, route_prefix="/", logging_config=logs)


def deploy(targets: list[serve.RunTarget], *, wait: bool) -> None:
    try:
        serve.run_many(targets, wait_for_applications_running=wait)
    except RuntimeError as error:
        raise EngineError(Problem("replicas", f"did not start: {error}", "see above")) from error
    except RayServeException as error:  # an application of somebody else is in the way
        refused = error.cause if isinstance(error, RayTaskError) else error
        raise EngineError(Problem("--ray-address", str(refused))) from error


def logging_of(settings: ReplicaSettings) -> dict[str, Any]:
    """Of Ray Serve itself; requests are our own log's matter."""
    level = "INFO" if settings.verbose else "WARNING"
    logging.getLogger("ray.serve").setLevel(level)
    return {"log_level": level, "enable_access_log": settings.verbose}
