"""A cluster that somebody else's Ray Serve has already; real Ray, and no engine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from hive_expert.replicas import environment
from hive_expert.serving.local_server import free_port

PROGRAMS = Path(sys.executable).parent
LIMIT_S = 120.0
OTHERS = """
import ray, sys
from ray import serve
ray.init(sys.argv[1], logging_level="ERROR")
serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})

@serve.deployment(ray_actor_options={"num_cpus": 0})
class Other:
    async def __call__(self, request):
        return "others are here"

for application in sys.argv[3:]:
    name, _, route = application.partition("=")
    if route:
        serve.run(Other.bind(), name=name, route_prefix=route)
    else:
        serve.delete(name)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of one; a folder with a short name, since sockets lie in it. Without a token: it
    would be found in a home directory that has one, and missed by those who do not look there."""
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        options = ["--head", "--block", "--include-dashboard", "false", "--num-cpus", "2"]
        options += ["--node-ip-address", "127.0.0.1", "--port", address.rpartition(":")[2]]
        options += ["--ray-client-server-port", str(free_port()), "--temp-dir", folder]
        options += ["--object-store-memory", str(100 * 2**20)]
        ray = psutil.Popen(
            [PROGRAMS / "ray", "start", *options],
            env=os.environ | environment.SETTINGS | {"RAY_AUTH_MODE": "disabled"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            for line in ray.stdout:
                if b"Ray runtime started" in line:
                    break
            yield address
        finally:
            everything = [*ray.children(recursive=True), ray]
            for process in everything:
                process.terminate()
            psutil.wait_procs(everything, timeout=20)


@pytest.fixture(scope="module")
def port(cluster: str) -> int:
    """Where the cluster's Ray Serve listens; it has an application with the name of ours."""
    port = free_port()
    deploy(cluster, port, "hive=/hive", "other=/other")
    return port


def deploy(cluster: str, port: int, *applications: str) -> None:
    """Each as name=route, or as a name that is to go."""
    command = [sys.executable, "-c", OTHERS, cluster, str(port), *applications]
    subprocess.run(command, check=True, timeout=LIMIT_S)


def refused(cluster: str, port: int, folder: Path) -> str:
    """What hive-serve says."""
    options = ["--no-jobs", "--replicas", "1", "--replica-cpus", "1", "--ray-address", cluster]
    tried = subprocess.run(
        [PROGRAMS / "hive-serve", "--experts-dir", folder, "--port", str(port), *options],
        env=os.environ | {"HIVE_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert tried.returncode == 1, tried.stderr
    return tried.stderr


def answer(port: int, name: str) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/{name}", timeout=30).text


def test_another_hive_serve_in_the_cluster_is_not_replaced(
    cluster: str, port: int, tmp_path: Path
) -> None:
    said = refused(cluster, port, tmp_path)
    assert "another hive-serve runs there" in said
    assert "listens on" not in said
    assert answer(port, "hive") == answer(port, "other") == "others are here"


def test_all_that_is_in_the_way_is_said_at_once(cluster: str, port: int, tmp_path: Path) -> None:
    said = refused(cluster, free_port(), tmp_path)
    assert f"listens on 127.0.0.1:{port}" in said
    assert "another hive-serve runs there" in said
    assert answer(port, "hive") == "others are here"


def test_where_all_paths_are_taken_there_is_no_place(
    cluster: str, port: int, tmp_path: Path
) -> None:
    deploy(cluster, port, "hive", "all=/")
    said = refused(cluster, port, tmp_path)
    assert 'Prefix / is being used by application "all"' in said
    assert "Traceback" not in said
    assert answer(port, "hive") == answer(port, "other") == "others are here"
