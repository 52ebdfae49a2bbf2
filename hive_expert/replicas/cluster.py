"""The Ray that replicas run on: one of our own or somebody's cluster, its cores and its ports."""

from __future__ import annotations

import logging
import socket
from dataclasses import replace
from typing import Any

import ray
from ray import serve
from ray.serve.context import _get_global_client

from hive_expert.errors import EngineError, Problem
from hive_expert.replicas.loopback import LOOPBACK
from hive_expert.replicas.settings import ReplicaSettings, Scaling

STORE_BYTES = 200 * 2**20
"""Ray's shared memory on a machine of our own: requests and pieces of answers pass through it."""


def connect(settings: ReplicaSettings, folder: str, namespace: str) -> None:
    """To a cluster, or a new one on the loopback; see `environment`.

    Raises:
        EngineError: there is none, or it cannot be started.
    """
    how: dict[str, Any] = {"address": settings.address}
    if settings.address is None:
        how = {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
            "_node_ip_address": LOOPBACK,
            "_temp_dir": folder,
        }
    level = logging.INFO if settings.verbose else logging.ERROR
    try:
        ray.init(**how, namespace=namespace, logging_level=level, log_to_driver=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError(Problem("--ray-address", f"no Ray: {error}")) from error


def shared_out(settings: ReplicaSettings) -> Scaling:
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
    one_more = scaling.most + 1
    spare = cpus * one_more <= cores and each * one_more <= gpus
    return replace(scaling, cpus=cpus, gpus=each, spare=spare)


def this_machine() -> str:
    """The resource by which Ray knows the machine of this process."""
    own = ray.get_runtime_context().get_node_id()
    (node,) = [each for each in ray.nodes() if each["NodeID"] == own]
    names = [name for name in node["Resources"] if name.startswith("node:")]
    return str(next(name for name in names if name != "node:__internal_head__"))


def has_serve() -> bool:
    """Whether Ray Serve runs in this cluster already."""
    return _get_global_client(raise_if_no_controller_running=False) is not None


def require_place(settings: ReplicaSettings, *applications: str) -> None:
    """Raise EngineError where the cluster's Ray Serve listens elsewhere, as it keeps its port, or
    has an application of one of these names: to deploy another would replace it."""
    problems = []
    http = _get_global_client().http_config
    if (http.host, http.port) != (settings.host, settings.port):
        what = f"Ray Serve runs in this cluster already, and listens on {http.host}:{http.port}"
        remedy = "take those, or end it (serve shutdown)"
        problems.append(Problem("--host, --port", what, remedy))
    there = serve.status().applications
    for taken in (name for name in applications if name in there):
        what = f"another hive-serve runs there: Ray Serve has the application {taken}"
        remedy = f"ask that one, or end it (serve.delete('{taken}'))"
        problems.append(Problem("--ray-address", what, remedy))
    if problems:
        raise EngineError(*problems)


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
