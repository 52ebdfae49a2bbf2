"""Keeps what Ray Serve listens on in each replica where nobody else reaches it.

Each of its replicas listens for calls from others by gRPC, on all addresses of the machine, in
plain text, and unpickles what comes. Ray Serve calls replicas that way only where it is told to
(`RAY_SERVE_USE_GRPC_BY_DEFAULT`), and has no setting for the address.
"""

from __future__ import annotations

from typing import Any

LOOPBACK = "127.0.0.1"


def keep_inside() -> None:
    """Have this process's replica listen on the loopback, or on its machine's one address in a
    cluster where replicas are called by gRPC. To be called by a deployment's constructor, before
    which Ray Serve opens no port.

    Raises:
        RuntimeError: another version of Ray, whose port would stand open.
    """
    import ray
    from ray.serve._private import constants, replica

    if not hasattr(replica, "add_port_to_grpc_server"):
        raise RuntimeError(f"Ray {ray.__version__} opens its ports another way: install 2.60")
    called = constants.RAY_SERVE_USE_GRPC_BY_DEFAULT
    host = ray.util.get_node_ip_address() if called else LOOPBACK
    opened = getattr(replica.add_port_to_grpc_server, "opened", replica.add_port_to_grpc_server)

    def open_inside(server: Any, address: str) -> Any:
        return opened(server, f"{host}:{address.rpartition(':')[2]}")

    open_inside.opened = opened  # type: ignore[attr-defined]  # so that twice is as good as once
    replica.add_port_to_grpc_server = open_inside
