"""Is there exactly one answer to each request of a batch when its server is killed again and again?

Each death is SIGKILL to the server and its engine together, as an OOM killer or a lost machine
would do it, at a random moment after it has begun to answer. In the end each custom_id must stand
in the output or the error file, once, with the answer to its own question.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import rich_click as click
from jobs_crash_subjects import FakeServer, HiveServer, PipelineServer
from jobs_deaths import Plan, Tell, run
from serving import machine, store
from serving_bench import Bench, end_as_usual_on_sigterm, progress

from hive_expert.adapters.base_model import DEFAULT, resolve_base
from hive_expert.cli.jobs_options import counting_bar

RESULTS = Path(__file__).parent / "results"


@click.command()
@click.option("--requests", type=click.IntRange(min=10), default=10_000, show_default=True)
@click.option("--kills", type=click.IntRange(min=0), default=20, show_default=True)
@click.option(
    "--life",
    type=float,
    default=20.0,
    show_default=True,
    help="Seconds at most from a server's first answer to its death; less if answers come fast.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--database", help="postgresql://…; SQLite otherwise.")
@click.option("--fake", is_flag=True, help="A fake model, whose server starts in a second.")
@click.option("--pipeline", is_flag=True, help="A fake model, and documents through three steps.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the run there, and go on with the one that is there.",
)
@click.option(
    "--stay", type=float, help="Begin nothing new after so many seconds; needs --state to go on."
)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    requests: int,
    kills: int,
    life: float,
    seed: int,
    database: str | None,
    fake: bool,
    pipeline: bool,
    state: Path | None,
    stay: float | None,
    as_json: bool,
    output: Path,
) -> None:
    """Kill a server while it works on a batch; writes jobs_crash.json.

    Each start of the real one takes half a minute. Exit 1: an answer is missing, twice or another
    request's, or --stay was over before the end.

    \b
    Examples:
      python benchmarks/jobs_crash.py --fake
      python benchmarks/jobs_crash.py --state crash --stay 500   # again and again, to its end
      python benchmarks/jobs_crash.py --requests 300 --kills 3 --database postgresql://…
    """
    end_as_usual_on_sigterm()
    output.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + (stay or float("inf"))
    plan = Plan(requests, kills, life, seed)
    with _folder(state) as folder, _progress() as tell:
        if pipeline:
            documents = PipelineServer(folder, database)
            record, verdict = run(documents, folder, plan, tell, until, documents.look)
        else:
            subject = FakeServer(folder, database) if fake else _hive(folder, database)
            record, verdict = run(subject, folder, plan, tell, until)
    if verdict is None:
        what = f"{record.kills} kills, {record.done} answered: the same command goes on"
        progress.print(what)
        sys.exit(1)
    ok = verdict.ok and not record.repeated
    told = asdict(record) | asdict(verdict) | {"ok": ok, "machine": machine()}
    what = "pipeline, fake" if pipeline else "fake" if fake else "engine"
    name = f"{what}, {'PostgreSQL' if database else 'SQLite'}"
    store(output / "jobs_crash.json", {name: told})
    progress.print_json(data=told)
    if as_json:
        print(json.dumps({name: told}))
    sys.exit(not ok)


def _hive(folder: Path, database: str | None) -> HiveServer:
    return HiveServer(Bench(resolve_base(DEFAULT).directory, folder, quick=False), database)


@contextmanager
def _folder(state: Path | None) -> Iterator[Path]:
    if state is not None:
        state.mkdir(parents=True, exist_ok=True)
        yield state
        return
    with tempfile.TemporaryDirectory(prefix="hive-jobs-") as folder:
        yield Path(folder)


@contextmanager
def _progress() -> Iterator[Tell]:
    with counting_bar() as shown:
        task = shown.add_task("starting")

        def tell(what: str, done: int, of: int) -> None:
            shown.update(task, description=what, completed=done, total=of)

        yield tell


if __name__ == "__main__":
    main()
