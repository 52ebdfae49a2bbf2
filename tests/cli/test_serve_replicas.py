"""What `hive-serve --replicas` makes of a command line: for the front, and for each replica."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import rich_click as click

from hive_expert.cli import serve
from hive_expert.cli.serve_access import AccessOptions, door_settings
from hive_expert.cli.serve_jobs import JobOptions, job_settings
from hive_expert.cli.serve_replicas import (
    ReplicaOptions,
    replica_arguments,
    replica_settings,
    require_replicas,
)
from hive_expert.errors import UsageError
from hive_expert.replicas.settings import ReplicaSettings, Scaling

KEY = "alice-key-0123456789"


def parsed(folder: Path, *arguments: str) -> click.Context:
    return serve.main.make_context("hive-serve", ["--experts-dir", str(folder), *arguments])


def scale_of(context: click.Context) -> ReplicaOptions:
    return ReplicaOptions(**{n: context.params[n] for n in ReplicaOptions.__dataclass_fields__})


def settings_of(context: click.Context) -> ReplicaSettings:
    """As `serve.main` makes them."""
    names = AccessOptions.__dataclass_fields__
    access = AccessOptions(**{name: context.params[name] for name in names})
    door = door_settings(context.params["host"], context.params["max_num_seqs"], access)
    scale = scale_of(context)
    assert require_replicas(context, scale)
    options = JobOptions(**{n: context.params[n] for n in JobOptions.__dataclass_fields__})
    jobs = job_settings(options, context.params["max_num_seqs"], access.max_body_mib)
    return replica_settings(context, scale, door, jobs)


def without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


OF_THE_FRONT = (
    "host", "port", "api_key", "admin_key", "allow_anyone", "allow_origin", "lifeline", "no_jobs",
    "jobs_dir", "jobs_database", "max_job_requests", "max_file_mib", "max_batch_requests",
    *ReplicaOptions.__dataclass_fields__,
)  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--dtype", "float32", "--max-slots", "4", "--max-cpu-experts", "10"),
        ("--pin", "expert-sql", "--pin", "expert-json@0.2.0", "--cut-ranks", "--verbose"),
        ("--temperature", "0.3", "--on-invalid", "retry", "--drain-seconds", "5"),
        ("--host", "127.0.0.1", "--port", "9000", "--allow-origin", "https://x.org"),
        ("--jobs-dir", "jobs", "--max-job-requests", "4", "--max-file-mib", "1"),
        ("--trust", "warn", "--log-format", "json", "--max-per-key", "3", "--max-stops", "0"),
    ],
)
def test_a_replica_gets_what_was_asked_for(tmp_path: Path, options: tuple[str, ...]) -> None:
    context = parsed(tmp_path, "--replicas", "2", *options)
    arguments = list(replica_arguments(context))
    again = parsed(tmp_path, *arguments)
    assert without(again.params, *OF_THE_FRONT) == without(context.params, *OF_THE_FRONT)
    assert not require_replicas(again, scale_of(again))


def test_settings_of_a_file_reach_replicas_too(tmp_path: Path) -> None:
    config = tmp_path / "preset.toml"
    config.write_text('replicas = 2\nmax-slots = 3\ncut-ranks = true\nport = 9000\nbase = "b"\n')
    context = parsed(tmp_path, "--config", str(config))
    assert settings_of(context).port == 9000
    assert list(replica_arguments(context)) == [
        "--base", "b", "--max-slots", "3", "--cut-ranks",
    ]  # fmt: skip


def test_files_keep_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").write_text(f"alice {KEY}\n")
    monkeypatch.chdir(tmp_path)
    context = parsed(Path(), "--replicas", "2", "--api-key-file", "keys")
    settings = settings_of(context)
    assert settings.launch.experts_dir == tmp_path
    assert settings.launch.options == ("--api-key-file", str(tmp_path / "keys"))


def test_keys_stand_on_no_command_line(tmp_path: Path) -> None:
    settings = settings_of(parsed(tmp_path, "--replicas", "2", "--api-key", KEY))
    assert settings.launch.options == ()
    assert settings.launch.variables["HIVE_API_KEY"] == KEY
    assert KEY not in repr(settings)


def test_a_replica_is_administrated_by_nobody_where_the_front_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIVE_ADMIN_KEY", raising=False)
    open_to_all = ("--replicas", "2", "--host", "0.0.0.0", "--allow-anyone")
    one, other = (
        settings_of(parsed(tmp_path, *open_to_all)).launch.variables["HIVE_ADMIN_KEY"]
        for _ in range(2)
    )
    assert len(one) == 64 and one != other
    given = parsed(tmp_path, *open_to_all, "--admin-key", KEY)
    assert settings_of(given).launch.variables["HIVE_ADMIN_KEY"] == KEY
    inside = settings_of(parsed(tmp_path, "--replicas", "2"))
    assert "HIVE_ADMIN_KEY" not in inside.launch.variables


def test_secrets_do_not_reach_a_cluster_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = {"HF_TOKEN": "t", "OTEL_EXPORTER_OTLP_HEADERS": "h", "HF_HOME": "/hf"}
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    alone = settings_of(parsed(tmp_path, "--replicas", "2")).launch.variables
    assert theirs.items() <= alone.items()
    shared = settings_of(parsed(tmp_path, "--replicas", "2", "--ray-address", "auto"))
    assert {"HF_HOME"} == theirs.keys() & shared.launch.variables.keys()


def test_jobs_are_the_front_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = "postgresql://alice:secret@db/jobs"
    monkeypatch.setenv("HIVE_JOBS_DATABASE", url)
    context = parsed(
        tmp_path, "--replicas", "2", "--max-replicas", "4", "--max-num-seqs", "16",
        "--jobs-dir", "jobs", "--max-batch-requests", "7",
    )  # fmt: skip
    settings = settings_of(context)
    jobs = settings.jobs
    assert jobs is not None
    assert (jobs.jobs.folder, jobs.jobs.database) == (tmp_path / "jobs", url)
    assert (jobs.replicas, jobs.places, jobs.jobs.limits.requests) == (2, 16, 7)
    assert (jobs.room(1).jobs, jobs.room(4).jobs) == (12, 48)
    assert settings.launch.options == ("--max-num-seqs", "16")
    assert "HIVE_JOBS_DATABASE" not in settings.launch.variables
    assert settings_of(parsed(tmp_path, "--replicas", "2", "--no-jobs")).jobs is None


def test_a_database_without_a_password_may_be_named_in_a_cluster(tmp_path: Path) -> None:
    context = parsed(
        tmp_path, "--replicas", "2", "--ray-address", "auto",
        "--jobs-database", "postgresql://alice@db/jobs",
    )  # fmt: skip
    assert settings_of(context).jobs is not None


def test_scaling_is_what_the_options_say(tmp_path: Path) -> None:
    context = parsed(
        tmp_path, "--replicas", "1", "--max-replicas", "4", "--requests-per-replica", "16",
        "--scale-up-seconds", "10", "--scale-down-seconds", "60", "--replica-cpus", "2",
        "--replica-gpus", "1", "--ray-address", "auto", "--max-num-seqs", "24",
    )  # fmt: skip
    settings = settings_of(context)
    assert settings.scaling == Scaling(1, 4, busy=16, up_s=10, down_s=60, cpus=2, gpus=1)
    assert (settings.address, settings.max_num_seqs) == ("auto", 24)


def test_experts_that_fit_into_memory_are_a_replica_s_own(tmp_path: Path) -> None:
    context = parsed(tmp_path, "--replicas", "2", "--max-cpu-experts", "10")
    assert settings_of(context).experts_each == 10


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--ray-address", "auto"), "--ray-address"),
        (("--max-replicas", "2"), "--max-replicas"),
        (("--replica-cpus", "2"), "--replica-cpus"),
        (("--replicas", "2", "--supervise"), "--supervise"),
        (
            ("--replicas", "2", "--ray-address", "auto", "--jobs-database", "postgresql://a:b@c/d"),
            "--jobs-database",
        ),
        (("--replicas", "3", "--max-replicas", "2"), "--max-replicas"),
        (("--replicas", "2", "--requests-per-replica", "9"), "--requests-per-replica"),
        (("--replicas", "2", "--ray-address", "auto", "--api-key", KEY), "keys"),
    ],
)
def test_what_cannot_be_had_is_refused(
    tmp_path: Path, options: tuple[str, ...], named: str
) -> None:
    context = parsed(tmp_path, *options)
    with pytest.raises(UsageError) as caught:
        if require_replicas(context, scale_of(context)):
            settings_of(context)
    assert named in {problem.where for problem in caught.value.problems}


def test_without_replicas_nothing_changes(tmp_path: Path) -> None:
    context = parsed(tmp_path, "--max-slots", "4")
    assert not require_replicas(context, scale_of(context))
