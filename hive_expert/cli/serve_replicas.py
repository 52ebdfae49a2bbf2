"""`hive-serve`'s options about replicas, and what of its command line each replica gets."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import rich_click as click
from click.core import ParameterSource

from hive_expert.cli.option_group import option_group
from hive_expert.cli.terminal import note
from hive_expert.errors import Problem, UsageError

if TYPE_CHECKING:
    from hive_expert.jobs.service import JobSettings
    from hive_expert.replicas.settings import FrontJobSettings, ReplicaSettings, Scaling
    from hive_expert.serving.guard import DoorSettings


@dataclass(frozen=True, slots=True)
class ReplicaOptions:
    """What these options say."""

    replicas: int | None
    max_replicas: int | None
    requests_per_replica: int
    scale_up_seconds: float
    scale_down_seconds: float
    replica_cpus: int | None
    replica_gpus: int | None
    ray_address: str | None


_OPTIONS = (
    click.option(
        "--replicas",
        type=click.IntRange(min=1),
        help="So many engines behind one address, on Ray Serve: requests for one expert meet on "
        "one of them. Needs hive-expert[ray].",
    ),
    click.option(
        "--max-replicas",
        type=click.IntRange(min=1),
        help="Up to so many, when there is more to do; default: --replicas.",
    ),
    click.option(
        "--requests-per-replica",
        default=32,
        show_default=True,
        type=click.IntRange(min=1),
        help="With --max-replicas: requests at once that are as many as a replica should have.",
    ),
    click.option(
        "--scale-up-seconds",
        default=30.0,
        show_default=True,
        type=click.FloatRange(min=0),
        help="With --max-replicas: how long there must be more, for another replica to start.",
    ),
    click.option(
        "--scale-down-seconds",
        default=600.0,
        show_default=True,
        type=click.FloatRange(min=0),
        help="With --max-replicas: how long there must be fewer, for one to stop.",
    ),
    click.option(
        "--replica-cpus",
        type=click.IntRange(min=1),
        help="Cores of each replica; default: all there are, shared out evenly.",
    ),
    click.option(
        "--replica-gpus",
        type=click.IntRange(min=0),
        help="GPUs of each replica; default: --tensor-parallel-size, where there are any.",
    ),
    click.option(
        "--ray-address",
        metavar="ADDRESS",
        help="A running Ray cluster, as auto or HOST:PORT, each of whose machines has the base, "
        "the experts and the files with keys under the same paths. Default: one on this machine "
        "alone.",
    ),
)

_OF_THE_FRONT = frozenset(
    {
        *ReplicaOptions.__dataclass_fields__,
        "host",
        "port",
        "api_key",
        "admin_key",
        "allow_anyone",
        "allow_origin",
        "lifeline",
        "no_jobs",
        "jobs_dir",
        "jobs_database",
        "max_job_requests",
        "max_file_mib",
        "max_batch_requests",
    }
)
"""Parameters that a replica does not get. Keys go another way: a command line can be read."""

_ONLY_ALONE = {
    "supervise": "Ray Serve replaces a replica that dies; leave it out",
    "recall": "Ray Serve replaces a replica that dies; leave it out",
}
"""Parameters that several replicas cannot honour, and why."""

_PASSED_ON = ("HIVE_", "VLLM_", "HF_", "OTEL_")
"""Of the environment, what an engine goes by, wherever it runs."""

_OF_THE_FRONT_S_JOBS = "HIVE_JOBS_DATABASE"
"""May hold a password, and is no engine's matter."""

_SECRET = re.compile("TOKEN|KEY|SECRET|PASSWORD|CREDENTIAL|HEADERS")
"""Names of what may be a secret, as HF_TOKEN and OTEL_EXPORTER_OTLP_HEADERS: whatever a deployment
is made with can be read by everybody in its cluster."""


replica_options = option_group(ReplicaOptions, "scale", _OPTIONS)
"""Gives a command these options; it gets them as `scale`."""


def click_context() -> click.Context:
    """Of the command that runs."""
    context = click.get_current_context()
    assert context is not None  # inside of a command
    return context


def require_replicas(context: click.Context, scale: ReplicaOptions) -> bool:
    """Whether there are to be replicas, once it is known that nothing contradicts it.

    Raises:
        UsageError: options that mean nothing without `--replicas`, or cannot be had with it.
    """
    if scale.replicas is None:
        stray = [
            Problem(_option(context, name), "means something with --replicas only")
            for name in ReplicaOptions.__dataclass_fields__
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT
        ]
        if stray:
            raise UsageError(*stray)
        return False
    problems = [
        Problem(_option(context, name), "cannot be had with --replicas", why)
        for name, why in _ONLY_ALONE.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    ]
    if scale.max_replicas is not None and scale.max_replicas < scale.replicas:
        problems.append(Problem("--max-replicas", "is less than --replicas"))
    if scale.max_replicas is None:
        problems += [
            Problem(_option(context, name), "means something with --max-replicas only")
            for name in ("requests_per_replica", "scale_up_seconds", "scale_down_seconds")
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT
        ]
    if problems:
        raise UsageError(*problems)
    return True


def replica_settings(
    context: click.Context,
    scale: ReplicaOptions,
    door: DoorSettings,
    jobs: JobSettings | None = None,
) -> ReplicaSettings:
    """All that Ray Serve is told, from the parsed command line.

    Raises:
        UsageError: keys or a password that everyone in the cluster could read.
    """
    from hive_expert.replicas.settings import Launch, ReplicaSettings

    values = context.params
    given = {"HIVE_API_KEY": door.keys.inference, "HIVE_ADMIN_KEY": door.keys.admin}
    keys = {name: "\n".join(texts) for name, texts in given.items() if texts}
    if keys and scale.ray_address is not None:
        what = "given as values, they would lie open in the cluster"
        raise UsageError(Problem("keys", what, "use --api-key-file and --admin-key-file"))
    if not door.local and not (door.keys.admin or door.keys.admin_files):
        # Nobody may administrate at the front; a replica, on the loopback, would let its machine.
        keys["HIVE_ADMIN_KEY"] = secrets.token_hex(32)
    settings = ReplicaSettings(
        launch=Launch(
            Path(values["experts_dir"]).absolute(),
            tuple(replica_arguments(context)),
            _passed_on(alone=scale.ray_address is None) | keys,
        ),
        door=door,
        host=values["host"],
        port=values["port"],
        address=scale.ray_address,
        scaling=scaling_of(scale),
        tensor_parallel_size=values["tensor_parallel_size"],
        max_num_seqs=values["max_num_seqs"],
        jobs=None if jobs is None else _of_the_front(jobs, context, scale),
        drain_s=values["drain_seconds"],
        log_format=values["log_format"],
        verbose=values["verbose"],
    )
    held = values["max_cpu_experts"]
    return settings if held is None else replace(settings, experts_each=held)


def _of_the_front(
    jobs: JobSettings, context: click.Context, scale: ReplicaOptions
) -> FrontJobSettings:
    from hive_expert.replicas.settings import FrontJobSettings

    parts = urlsplit(jobs.database or "")
    if scale.ray_address is not None and (parts.password or "password=" in parts.query):
        what = "its password would lie open in the cluster"
        raise UsageError(Problem("--jobs-database", what, "leave it to ~/.pgpass"))
    return FrontJobSettings(
        # The front has another working directory.
        replace(jobs, folder=jobs.folder.absolute()),
        replicas=scale.replicas or 1,
        places=context.params["max_num_seqs"],
        requests=context.params["max_job_requests"],
    )


def _passed_on(*, alone: bool) -> dict[str, str]:
    """The variables of an engine. Secrets stay here, unless there is nobody else in the cluster."""
    found = {n: v for n, v in os.environ.items() if n.startswith(_PASSED_ON)}
    found.pop(_OF_THE_FRONT_S_JOBS, None)
    kept = [] if alone else sorted(filter(_SECRET.search, found))
    if kept:
        note(f"not passed on, since all in the cluster could read it: {', '.join(kept)}")
    return {name: value for name, value in found.items() if name not in kept}


def scaling_of(scale: ReplicaOptions) -> Scaling:
    from hive_expert.replicas.settings import Scaling

    least = scale.replicas or 1
    return Scaling(
        least=least,
        most=scale.max_replicas or least,
        busy=scale.requests_per_replica,
        up_s=scale.scale_up_seconds,
        down_s=scale.scale_down_seconds,
        cpus=scale.replica_cpus,
        gpus=scale.replica_gpus,
    )


def replica_arguments(context: click.Context) -> Iterator[str]:
    """The command line of one replica's engine: what was given here or in a `--config` file.

    Law: parsed by the same command, it gives the same values to all parameters but those of the
    front and the experts directory.
    """
    for parameter in context.command.params:
        name = parameter.name
        if (
            not isinstance(parameter, click.Option)
            or name is None
            or not parameter.expose_value
            or name in _OF_THE_FRONT | {"experts_dir"}
            or context.get_parameter_source(name) is ParameterSource.DEFAULT
        ):
            continue
        option, value = _option(context, name), context.params[name]
        if parameter.is_flag:
            yield from (option,) if value else ()
            continue
        for one in value if parameter.multiple else (value,):
            yield from (option, str(one.absolute() if isinstance(one, Path) else one))


def _option(context: click.Context, name: str) -> str:
    """How a parameter is written."""
    options: Mapping[str | None, Any] = {p.name: p for p in context.command.params}
    return str(options[name].opts[0])
