"""Where Ray Serve's replicas listen; tests/e2e/test_replicas.py looks at those that run."""

from __future__ import annotations

import pytest
from ray.serve._private import constants, replica

from hive_expert.replicas.loopback import keep_inside


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses at which ports are opened."""
    found: list[str] = []
    monkeypatch.setattr(
        replica, "add_port_to_grpc_server", lambda _, address: found.append(address) or 1
    )
    return found


def test_a_replica_listens_on_the_loopback(opened: list[str]) -> None:
    keep_inside()
    keep_inside()
    assert replica.add_port_to_grpc_server(object(), "[::]:0") == 1
    assert opened == ["127.0.0.1:0"]


def test_one_that_is_called_by_grpc_listens_where_its_node_is(
    opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "RAY_SERVE_USE_GRPC_BY_DEFAULT", True)
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "192.0.2.7")
    keep_inside()
    replica.add_port_to_grpc_server(object(), "[::]:0")
    assert opened == ["192.0.2.7:0"]


def test_another_ray_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(replica, "add_port_to_grpc_server")
    with pytest.raises(RuntimeError, match="install"):
        keep_inside()
