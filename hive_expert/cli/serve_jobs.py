"""`hive-serve`'s options about agents and their batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hive_expert import locations
from hive_expert.cli.option_group import option_group

if TYPE_CHECKING:
    from hive_expert.jobs.service import JobSettings
    from hive_expert.serving.agents import AgentsSource


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What these options say."""

    agents: Path | None
    no_jobs: bool
    jobs_dir: Path | None
    jobs_database: str | None
    max_job_requests: int | None
    max_file_mib: int
    max_batch_requests: int


_OPTIONS = (
    click.option(
        "--agents",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="TOML file: class, weight, tokens and experts of each tenant of the key files. Read "
        "anew on SIGHUP.",
    ),
    click.option("--no-jobs", is_flag=True, help="Serve no /v1/files and /v1/batches."),
    click.option(
        "--jobs-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder for the files and the state of batches; default: in HIVE_HOME.",
    ),
    click.option(
        "--jobs-database",
        envvar="HIVE_JOBS_DATABASE",
        show_envvar=True,
        metavar="URL",
        help="PostgreSQL database for the state of batches, postgresql://…; default: SQLite in "
        "--jobs-dir.",
    ),
    click.option(
        "--max-job-requests",
        type=click.IntRange(min=1),
        help="Requests of batches in the engine at once, or in all replicas together; default: "
        "three quarters of --max-num-seqs, for each replica. The fewer, the sooner others have "
        "their first token.",
    ),
    click.option(
        "--max-file-mib",
        type=click.IntRange(min=1),
        default=200,
        show_default=True,
        help="Size of an uploaded file, MiB.",
    ),
    click.option(
        "--max-batch-requests",
        type=click.IntRange(min=1),
        default=50_000,
        show_default=True,
        help="Requests of one batch.",
    ),
)


job_options = option_group(JobOptions, "jobs", _OPTIONS)
"""Gives a command these options; it gets them as `jobs`."""


def agents_source(options: JobOptions) -> AgentsSource:
    """Where the operator's decisions about agents stand, once they have been read for a check.

    Raises:
        UsageError: the agents file is broken; everything that is wrong with it.
    """
    from hive_expert.serving.agents import AgentsSource

    source = AgentsSource(options.agents)
    source.load()
    return source


def job_settings(options: JobOptions, max_num_seqs: int, max_body_mib: int) -> JobSettings | None:
    """How batches are kept; None if they are not."""
    from hive_expert.jobs.admission import room_of
    from hive_expert.jobs.limits import JobLimits
    from hive_expert.jobs.service import JobSettings

    if options.no_jobs:
        return None
    return JobSettings(
        folder=options.jobs_dir or locations.jobs_dir(),
        room=room_of(max_num_seqs, options.max_job_requests),
        database=options.jobs_database,
        limits=JobLimits(
            file_bytes=options.max_file_mib * 2**20,
            line_bytes=max_body_mib * 2**20,
            requests=options.max_batch_requests,
        ),
    )
