"""A server with replicas, from its settings to its end."""

from __future__ import annotations

import asyncio
import logging
import signal
import tempfile
from contextlib import suppress
from dataclasses import replace
from types import FrameType

import ray
from ray import serve
from ray.serve.exceptions import RayServeException

from hive_expert.replicas.attend import STOP, attend
from hive_expert.replicas.cluster import (
    connect,
    has_serve,
    require_place,
    require_port,
    shared_out,
    this_machine,
)
from hive_expert.replicas.deploy import FRONT, deploy, logging_of, of_engines, of_front
from hive_expert.replicas.front_deployment import ENGINES
from hive_expert.replicas.settings import ReplicaSettings

log = logging.getLogger("hive_expert.replicas")


def run(settings: ReplicaSettings) -> None:
    """Serve until told to stop.

    Raises:
        EngineError: the port is taken, the cluster cannot be reached, is too small or has another
            hive-serve, or the replicas did not start.
    """
    if settings.address is None:
        require_port(settings.host, settings.port)
    with tempfile.TemporaryDirectory(prefix="hive-ray-", ignore_cleanup_errors=True) as folder:
        connect(settings, folder, FRONT)
        _serve(settings)


def _serve(settings: ReplicaSettings) -> None:
    for known in STOP:  # until `attend`; Ray's own handler would abort this process
        signal.signal(known, _give_up)
    # Others have use of a cluster's own Ray Serve: it goes on, whatever becomes of us.
    shared = settings.address is not None and has_serve()
    try:
        settings = replace(settings, scaling=shared_out(settings))
        if settings.jobs is not None and settings.address is not None:
            # Their folder is on this machine, wherever else a front could be started anew.
            settings = replace(settings, machine=this_machine())
        _listen(settings, shared=shared)
        try:
            deploy([of_engines(settings), of_front(settings)], wait=True)
            count = settings.scaling.least
            log.info("ready: http://%s:%d/v1 (%d replicas)", settings.host, settings.port, count)
            asyncio.run(attend(settings))
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
        logging_config=logging_of(settings),
    )
