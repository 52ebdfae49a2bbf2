"""What a user decides about replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hive_expert.jobs.admission import Room, room_of
from hive_expert.serving.guard import DoorSettings

if TYPE_CHECKING:  # only the front has use of a database
    from hive_expert.jobs.service import JobSettings


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many replicas there are, and what each gets.

    Law: at least one, and never more at most than at least.
    """

    least: int = 1
    most: int = 1
    busy: int = 32
    """Requests in one replica that are as many as it should have: more start another."""
    up_s: float = 30.0
    """How long it must have been too much."""
    down_s: float = 600.0
    """How long it must have been too little, before one is stopped."""
    cpus: int | None = None
    """Cores of a replica; None: all there are, shared out evenly."""
    gpus: int | None = None
    """GPUs of a replica; None: one for each part of its layers, where there are any."""
    spare: bool = False
    """There is room for one more than the most: one that replaces another can start before that
    stops."""

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"from {self.least} to {self.most} replicas")

    @property
    def varies(self) -> bool:
        return self.most > self.least


@dataclass(frozen=True, slots=True)
class Launch:
    """How a replica starts its engine: a hive-serve on the loopback of the replica's machine."""

    experts_dir: Path
    options: tuple[str, ...] = ()
    """Of its command line."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of its environment; the keys are among them."""


@dataclass(frozen=True, slots=True)
class FrontJobSettings:
    """The jobs that the front works on."""

    jobs: JobSettings
    replicas: int = 1
    """That there are at first."""
    places: int = 64
    """Of one replica."""
    requests: int | None = None
    """Of batches in all replicas together; None: three quarters of their places."""

    def room(self, replicas: int) -> Room:
        """Of so many replicas, and of one at least: another one takes its place."""
        return room_of(self.places * max(1, replicas), self.requests)


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """All of it."""

    launch: Launch
    door: DoorSettings
    """Who gets in at the front."""
    host: str = "127.0.0.1"
    port: int = 8000
    address: str | None = None
    """Of a running Ray cluster; None: one of our own, on this machine's loopback."""
    scaling: Scaling = field(default_factory=Scaling)
    tensor_parallel_size: int = 1
    max_num_seqs: int = 64
    """Requests that one replica works on together."""
    experts_each: int = 1024
    """Names of experts that a replica counts as its own."""
    jobs: FrontJobSettings | None = field(default=None, repr=False)
    """None: the front keeps no files and batches."""
    machine: str | None = None
    """Ray's resource of the one that the front must run on; None: any."""
    drain_s: float = 30.0
    log_format: str = "text"
    verbose: bool = False
