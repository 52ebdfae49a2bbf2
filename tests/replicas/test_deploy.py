"""What Ray Serve is told; tests/e2e/test_replicas.py has it done."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.serve.config import AutoscalingConfig

from hive_expert.errors import EngineError
from hive_expert.replicas import environment
from hive_expert.replicas.cluster import require_port, shared_out, this_machine
from hive_expert.replicas.deploy import engines, front
from hive_expert.replicas.settings import Launch, ReplicaSettings, Scaling
from hive_expert.serving.guard import DoorSettings
from hive_expert.serving.traffic import TrafficLimits

SETTINGS = ReplicaSettings(
    launch=Launch(Path("/experts"), ("--max-slots", "4")),
    door=DoorSettings(traffic=TrafficLimits(running=16, waiting=5)),
    scaling=Scaling(2, 2, cpus=1, gpus=0),
    max_num_seqs=16,
)


def deployments(settings: ReplicaSettings) -> tuple[Any, Any, ReplicaSettings, Launch]:
    """The front, the engines, and what each is made with."""
    fronting = front(settings)._bound_deployment
    engine = engines(settings)._bound_deployment
    return fronting, engine, fronting.init_args[0], engine.init_args[0]


def test_a_fixed_number_of_replicas_has_places_for_all() -> None:
    front, engine, fronted, launch = deployments(SETTINGS)
    assert (front.num_replicas, engine.num_replicas) == (1, 2)
    assert engine.max_ongoing_requests == 16
    assert fronted.door.traffic == TrafficLimits(running=32, waiting=5)
    assert front.max_ongoing_requests > 32 + 5
    assert engine.ray_actor_options["num_cpus"] == 1
    assert launch.variables["OMP_NUM_THREADS"] == "1"
    assert launch.options == ("--max-slots", "4")


def test_a_front_with_jobs_stays_where_their_folder_is(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"NodeID": "other", "Resources": {"CPU": 1.0, "node:10.0.0.1": 1.0}},
        {"NodeID": "own", "Resources": {"node:__internal_head__": 1.0, "node:10.0.0.2": 1.0}},
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    own = SimpleNamespace(get_node_id=lambda: "own")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: own)
    assert this_machine() == "node:10.0.0.2"
    front, *_ = deployments(replace(SETTINGS, machine="node:10.0.0.2"))
    assert front.ray_actor_options["resources"] == {"node:10.0.0.2": 0.001}
    front, *_ = deployments(SETTINGS)
    assert not front.ray_actor_options.get("resources")


def test_replicas_may_come_and_go() -> None:
    scaling = Scaling(1, 4, busy=12, up_s=15, down_s=300, cpus=1, gpus=0)
    _, engine, fronted, _ = deployments(replace(SETTINGS, scaling=scaling))
    config: AutoscalingConfig = engine._deployment_config.autoscaling_config
    assert (config.min_replicas, config.max_replicas) == (1, 4)
    assert config.target_ongoing_requests == 12
    assert (config.upscale_delay_s, config.downscale_delay_s) == (15, 300)
    assert fronted.door.traffic.running == 64


def test_engines_on_gpus_keep_their_threads() -> None:
    _, engine, _, launch = deployments(replace(SETTINGS, scaling=Scaling(1, 1, cpus=4, gpus=1)))
    assert engine.ray_actor_options["num_gpus"] == 1
    assert launch.variables == {}


def test_what_is_not_there_is_not_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    asked = replace(SETTINGS, scaling=Scaling(2, 2))
    assert shared_out(asked) == Scaling(2, 2, cpus=1, gpus=0)
    with pytest.raises(EngineError, match="3 replicas need 3 cores"):
        shared_out(replace(SETTINGS, scaling=Scaling(2, 3)))
    # A cluster may grow.
    grows = replace(SETTINGS, scaling=Scaling(2, 3), address="auto")
    assert shared_out(grows).cpus == 1


@pytest.mark.parametrize(
    ("scaling", "spare"),
    [
        (Scaling(1, 1, cpus=1), True),
        (Scaling(1, 1), False),
        (Scaling(2, 2, cpus=1), False),
        (Scaling(1, 1, cpus=1, gpus=1), False),
    ],
)
def test_one_that_replaces_another_starts_first_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, scaling: Scaling, spare: bool
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0, "GPU": 1.0})
    shared = shared_out(replace(SETTINGS, scaling=replace(scaling, gpus=scaling.gpus or 0)))
    assert shared.spare is spare
    _, engine, _, _ = deployments(replace(SETTINGS, scaling=shared))
    assert engine._deployment_config.max_surge_percent == int(spare)


def test_gpus_are_shared_out_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 4.0})
    asked = replace(SETTINGS, scaling=Scaling(2, 2), tensor_parallel_size=2)
    assert shared_out(asked) == Scaling(2, 2, cpus=4, gpus=2)


def test_a_taken_port_is_said_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EngineError, match="cannot listen"):
            require_port("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(("least", "most"), [(0, 1), (3, 2)])
def test_fewer_at_most_than_at_least_is_no_scaling(least: int, most: int) -> None:
    with pytest.raises(ValueError, match="replicas"):
        Scaling(least, most)


def test_a_cluster_of_our_own_asks_for_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = environment.OF_OUR_OWN_CLUSTER
    for name in ("RAY_AUTH_TOKEN", *ours, *environment.SETTINGS):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")  # so that what prepare sets is undone
        monkeypatch.delenv(name)
    environment.prepare("auto")
    assert not {"RAY_AUTH_TOKEN", *ours} & environment.os.environ.keys()
    environment.prepare(None)
    first = environment.os.environ["RAY_AUTH_TOKEN"]
    environment.prepare(None)
    assert ours.items() <= environment.os.environ.items()
    assert ours["RAY_AUTH_MODE"] == "token"
    assert len(first) == 64 and environment.os.environ["RAY_AUTH_TOKEN"] != first


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EngineError, match=r"hive-expert\[ray\]"):
        environment.prepare(None)
