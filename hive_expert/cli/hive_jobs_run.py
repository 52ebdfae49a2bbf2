"""`hive jobs run`: a pipeline over a file of documents, on a running server."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from hive_expert.cli.jobs_options import (
    batch_options,
    bytes_bar,
    counting_bar,
    jobs_client,
    upload,
)
from hive_expert.cli.server_options import one_line, printable, server_options
from hive_expert.cli.terminal import HiveCommand, console, note, print_json
from hive_expert.errors import PipelineError, Problem

if TYPE_CHECKING:
    from hive_expert.client.jobs import JobsClient
    from hive_expert.client.pipeline_runs import Run
    from hive_expert.jobs.pipelines.documents import Survey
    from hive_expert.jobs.pipelines.model import Pipeline

SHOWN_ERRORS = 10

EXAMPLES = """
\b
Examples:
  hive jobs run configs/pipelines/documents.yaml --input configs/pipelines/documents.jsonl
  hive jobs run pipeline.yaml --input docs.jsonl --output results.jsonl --errors errors.jsonl
  hive jobs run pipeline.yaml --input docs.jsonl --dry-run
  hive jobs run pipeline.yaml --input docs.jsonl --output results.jsonl --retry-failed --json
\b
A pipeline:
  name: orders
  steps:
    - name: facts
      model: expert-json
      system: |
        Dialect: json
        Schema:
        {"type":"object","properties":{"product":{"type":"string"}},"required":["product"]}
      prompt: "{{document.text}}"
      format: json
    - name: query
      model: expert-sql
      system: "Dialect: sql\\nSchema:\\nproducts(id, name, price)"
      prompt: "Show the price of the product named {{steps.facts.product}}."
      format: sql
"""


@click.command("run", cls=HiveCommand, epilog=EXAMPLES)
@click.argument("pipeline", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--input",
    "source",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The documents: a JSON object on each line.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the results there, a line for each document; default: stdout, without --json.",
)
@click.option(
    "--errors",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write there why documents have no result; default: the first few on stderr.",
)
@batch_options
@click.option(
    "--retry-failed", is_flag=True, help="Ask documents again that have failed in this run before."
)
@click.option("--fresh", is_flag=True, help="Ask all of it anew, whatever was answered before.")
@click.option("--no-wait", is_flag=True, help="Submit it, and end; the same command fetches it.")
@click.option(
    "--part-documents",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Documents in one batch, as many as the server takes; another number is another run.",
)
@click.option("--dry-run", is_flag=True, help="Check pipeline and documents, and ask nothing.")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def run_command(
    pipeline: Path,
    source: Path,
    output: Path | None,
    errors: Path | None,
    window: str,
    metadata: dict[str, str],
    retry_failed: bool,
    fresh: bool,
    no_wait: bool,
    part_documents: int,
    dry_run: bool,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Run a PIPELINE, a graph of steps in YAML or JSON, over each document of a file.

    It runs on the server, as batches: this command may be stopped, and the server too. Given again,
    it goes on where it was, and asks no document again that has a result. A document that has none
    when its batch expires or is cancelled begins at its first step again, as does one that has
    failed, with --retry-failed. Exit 1 unless every document has a result.
    """
    from hive_expert.client.pipeline_runs import Run
    from hive_expert.jobs.pipelines.parse import load_pipeline

    steps = load_pipeline(pipeline)
    found = _survey(source, steps, part_documents)
    if dry_run:
        _show_plan(steps, found, as_json=as_json)
        return
    client = jobs_client(url, api_key)
    _require_models(client, pipeline.name, steps)
    run = Run(client, found.run_id(steps), {"pipeline": steps.name, **metadata}, window)
    if not fresh:
        run.find()
    _submit(run, steps, found, retry_failed=retry_failed)
    if no_wait:
        _summarize(run, found, None, None, as_json=as_json)
        return
    _watch(run, found)
    if output is not None or not as_json:
        _write(run.results(), output)
    if errors is not None:
        _write(run.errors(), errors)
    _summarize(run, found, output, errors, as_json=as_json)
    if run.summary()["completed"] < found.documents:
        if errors is None:
            _show_errors(run)
        sys.exit(1)


def _survey(source: Path, pipeline: Pipeline, part_documents: int) -> Survey:
    from hive_expert.jobs.pipelines.documents import PartLimits, survey

    with bytes_bar("checking documents") as progress:
        task = progress.add_task("", total=source.stat().st_size)
        limits = PartLimits(documents=part_documents)
        return survey(source, pipeline, limits, lambda seen: progress.update(task, completed=seen))


def _show_plan(pipeline: Pipeline, found: Survey, *, as_json: bool) -> None:
    plan = [{"step": s.name, "model": s.model, "needs": s.node.needs} for s in pipeline.order]
    if as_json:
        print_json({"pipeline": pipeline.name, "documents": found.documents, "steps": plan})
        return
    click.echo(f"{pipeline.name}: {found.documents:,} documents, {len(plan)} steps each")
    for step in pipeline.order:
        after = f", after {', '.join(step.node.needs)}" if step.node.needs else ""
        mark = "  (the output)" if step.name == pipeline.result else ""
        click.echo(f"  {step.name}: {printable(step.model)}{after}{mark}")


def _require_models(client: JobsClient, where: str, pipeline: Pipeline) -> None:
    """Raises PipelineError: all models that this server does not have, and why."""
    from hive_expert.client.pipeline_runs import model_problems, served_models

    steps = [(step.model, pipeline.chains[step.name]) for step in pipeline.steps]
    problems = model_problems(steps, *served_models(client))
    if problems:
        raise PipelineError(
            *(Problem(f"{where}: {p.where}", printable(p.what), p.remedy) for p in problems)
        )


def _submit(run: Run, pipeline: Pipeline, found: Survey, *, retry_failed: bool) -> None:
    """Have everything worked through that is not yet, and was not."""
    for part in found.parts:
        if part.number in run.parts:
            run.await_cancelled(part.number)
        there = run.parts.get(part.number)
        if there is None or there.of_no_use:
            with _part_file(found, part.number, pipeline, run.id) as path:
                file_id = run.uploaded(path.name, path.stat().st_size)
                what = f"uploading {part.number} of {len(found.parts)}"
                run.submit(part.number, file_id or upload(run.client, path, what))
        elif there.broken_off or (
            retry_failed and there.failed and there.last["status"] == "completed"
        ):
            run.retry(part.number)


@contextmanager
def _part_file(found: Survey, number: int, pipeline: Pipeline, run_id: str) -> Iterator[Path]:
    from hive_expert.jobs.pipelines.documents import write_part

    with tempfile.TemporaryDirectory(prefix="hive-run-") as folder:
        path = Path(folder) / f"{pipeline.name}-{run_id[:12]}-{number}.jsonl"
        with path.open("wb") as out:
            write_part(found.path, found.parts[number - 1], pipeline, out)
        yield path


def _watch(run: Run, found: Survey) -> None:
    note(f"run {run.id} (Ctrl-C stops watching, not the run; the same command goes on)")
    with counting_bar() as progress:
        task = progress.add_task("documents", total=found.documents)
        for part in sorted(run.parts):
            for _ in run.watch(part):
                summary = run.summary()
                progress.update(task, completed=summary["completed"] + summary["failed"])


def _write(lines: Iterable[dict[str, Any]], path: Path | None) -> None:
    """Write results, whole or not at all; without a path, to stdout."""
    if path is None:
        for line in lines:
            click.echo(json.dumps(line, ensure_ascii=False))
        return
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    part.replace(path)


def _summarize(
    run: Run, found: Survey, output: Path | None, errors: Path | None, *, as_json: bool
) -> None:
    summary = run.summary()
    if as_json:
        paths = {
            "output": str(output) if output else None,
            "errors": str(errors) if errors else None,
        }
        print_json({**summary, "documents": found.documents, **paths})
        return
    note(
        f"{summary['completed']:,} done, {summary['failed']:,} failed, of {found.documents:,}; "
        f"{summary['usage']['total_tokens']:,} tokens; {', '.join(summary['batches'])}"
    )


def _show_errors(run: Run) -> None:
    for count, line in enumerate(run.errors()):
        if count == SHOWN_ERRORS:
            note("more: --errors FILE has all of them")
            return
        what = one_line(str((line.get("error") or {}).get("message", "")), 200)
        console.print(f"line {line['line']}: {what}")
