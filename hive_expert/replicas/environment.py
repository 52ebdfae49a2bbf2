"""What Ray reads from the environment, once, when it is imported."""

from __future__ import annotations

import importlib.util
import os
import secrets

from hive_expert.errors import EngineError, Problem

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Our code never blocks its event loop, so that it needs no thread beside Ray Serve's own: a
    # piece of an answer passes two actors, and each change of threads costs it time.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    # Ray's own is 15: engines would stand behind everything else on the machine.
    "RAY_worker_niceness": "0",
    # Where memory runs short, whoever took it, Ray ends actors of its own until there is enough:
    # the small ones that hold all together, while the engines are no actors.
    "RAY_memory_monitor_refresh_ms": "0",
    # Before that a start is no slower than an engine's.
    "RAY_SERVE_SLOW_STARTUP_WARNING_S": "180",
    # Ray's own is 5: where others keep the cores busy, the proxy would be ended while it starts.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "50",
}

OF_OUR_OWN_CLUSTER = {
    # Ray takes 127.0.0.1 for a mistake, and listens on all addresses, unless it may have no
    # cluster of several machines. The name tells where that is its default.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "hive_expert.replicas.proxy:middlewares",
    "RAY_AUTH_MODE": "token",
}


def prepare(address: str | None) -> None:
    """Set up the environment for Ray; to be called before anything imports it.

    A cluster of our own keeps to the loopback, and asks for a secret that only its processes have:
    whoever can reach a port of Ray could otherwise run programs there. A cluster that is there
    already has its own rules.

    Raises:
        EngineError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        what, remedy = "Ray is not installed", "pip install 'hive-expert[ray]'"
        raise EngineError(Problem("--replicas", what, remedy))
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if address is None:
        os.environ.update(OF_OUR_OWN_CLUSTER)
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
