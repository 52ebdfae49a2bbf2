"""`hive jobs`: batches of requests on a running server."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from hive_expert.cli.jobs_options import batch_options, counting_bar, jobs_client, upload
from hive_expert.cli.server_options import printable, server_options
from hive_expert.cli.terminal import HiveCommand, HiveGroup, note, print_json
from hive_expert.errors import Problem, ServerError, UsageError

if TYPE_CHECKING:
    from hive_expert.client.jobs import JobsClient

_SECONDS = {"m": 60, "h": 3600, "d": 86400}


@click.group(cls=HiveGroup)
def jobs() -> None:
    """Batches: many requests in one file, answered when there is room."""


SUBMIT_EXAMPLES = """
\b
Examples:
  hive jobs submit requests.jsonl
  hive jobs submit requests.jsonl --window 2h --metadata team=search --wait
  hive jobs submit requests.jsonl --endpoint /v1/completions --json
\b
A line of the file:
  {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
   "body": {"model": "expert-sql", "messages": [{"role": "user", "content": "…"}]}}
"""


@jobs.command("submit", cls=HiveCommand, epilog=SUBMIT_EXAMPLES)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--endpoint",
    type=click.Choice(["/v1/chat/completions", "/v1/completions", "/v1/responses"]),
    default="/v1/chat/completions",
    show_default=True,
    help="What each line asks.",
)
@batch_options
@click.option("--wait", is_flag=True, help="Watch it until it is done.")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print the batch as JSON.")
def submit(
    file: Path,
    endpoint: str,
    window: str,
    metadata: dict[str, str],
    wait: bool,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Upload FILE, a request a line, and have all of it answered."""
    client = jobs_client(url, api_key)
    file_id = upload(client, file)
    order = {
        "input_file_id": file_id,
        "endpoint": endpoint,
        "completion_window": window,
        "metadata": metadata,
    }
    try:
        batch = client.make(order)
    except ServerError:
        client.delete_file(file_id)
        raise
    if wait:
        note(f"{batch['id']} (Ctrl-C stops watching, not the batch)")
        batch = _watch(client, batch["id"])
    _finish(batch, as_json=as_json)


LIST_EXAMPLES = """
\b
Examples:
  hive jobs list
  hive jobs list --state in_progress --json
"""


@jobs.command("list", cls=HiveCommand, epilog=LIST_EXAMPLES)
@click.option("--state", help="Only those in this state, such as in_progress or completed.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest."
)
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print the batches as JSON.")
def list_jobs(
    state: str | None, limit: int, url: str | None, api_key: str | None, as_json: bool
) -> None:
    """List your batches, the newest first."""
    found = jobs_client(url, api_key).batches(None if state else limit)
    chosen = [batch for batch in found if state in (None, batch["status"])][:limit]
    if as_json:
        print_json(chosen)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("batch", "state", "done", "failed", "of", "tokens", "since", "metadata")
    for column in table.columns[:-1]:
        column.no_wrap = True
    table.columns[0].min_width = len("batch_") + 24
    for batch in chosen:
        counts, metadata = batch["request_counts"], batch["metadata"] or {}
        table.add_row(
            batch["id"],
            batch["status"],
            str(counts["completed"]),
            str(counts["failed"]),
            str(counts["total"]),
            str(batch["usage"]["total_tokens"]),
            _when(batch["created_at"]),
            printable(" ".join(f"{key}={value}" for key, value in metadata.items())),
        )
    Console(highlight=False).print(table)


SHOW_EXAMPLES = """
\b
Examples:
  hive jobs show batch_6f1e
  hive jobs show batch_6f1e --output answers.jsonl --errors errors.jsonl
"""


@jobs.command("show", cls=HiveCommand, epilog=SHOW_EXAMPLES)
@click.argument("batch")
@click.option("--output", type=click.Path(path_type=Path), help="Write its results there.")
@click.option("--errors", type=click.Path(path_type=Path), help="Write its errors there.")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print the batch as JSON.")
def show(
    batch: str,
    output: Path | None,
    errors: Path | None,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Show how far BATCH is, and fetch what it has brought."""
    client = jobs_client(url, api_key)
    found = client.batch(batch)
    for path, key in ((output, "output_file_id"), (errors, "error_file_id")):
        if path is not None:
            _save(client, found[key], path)
    if as_json:
        print_json(found)
    else:
        _describe(found)


def _save(client: JobsClient, file_id: str | None, path: Path) -> None:
    """Write a file of the server's; an empty one if there is none."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as out:
        for piece in client.content(file_id) if file_id else ():
            out.write(piece)
    part.replace(path)
    note(f"{path}: {path.stat().st_size:,} bytes")


WATCH_EXAMPLES = """
\b
Examples:
  hive jobs watch batch_6f1e
  hive jobs watch batch_6f1e --json
"""


@jobs.command("watch", cls=HiveCommand, epilog=WATCH_EXAMPLES)
@click.argument("batch")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print the batch as JSON once it is done.")
def watch(batch: str, url: str | None, api_key: str | None, as_json: bool) -> None:
    """Watch BATCH until it is done. Exit 1 unless all its requests have a result."""
    _finish(_watch(jobs_client(url, api_key), batch), as_json=as_json)


def _watch(client: JobsClient, batch_id: str) -> dict[str, Any]:
    """The batch once it is done; how far it is shows meanwhile."""
    from hive_expert.client.jobs import FINAL

    with counting_bar() as progress:
        task = progress.add_task("waiting", total=None)
        while True:
            batch = client.batch(batch_id)
            if batch["status"] in FINAL:
                return batch
            for batch in client.watch(batch_id):
                counts = batch["request_counts"]
                progress.update(
                    task,
                    description=batch["status"],
                    completed=counts["completed"] + counts["failed"],
                    total=counts["total"] or None,
                )


CANCEL_EXAMPLES = """
\b
Examples:
  hive jobs cancel batch_6f1e
  hive jobs cancel batch_6f1e batch_77a0 --json
"""


@jobs.command("cancel", cls=HiveCommand, epilog=CANCEL_EXAMPLES)
@click.argument("batches", nargs=-1, required=True)
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print the batches as JSON.")
def cancel(batches: tuple[str, ...], url: str | None, api_key: str | None, as_json: bool) -> None:
    """Break BATCHES off. What is answered already stays, and is in their output."""
    client = jobs_client(url, api_key)
    _each([client.cancel(batch) for batch in batches], as_json=as_json)


RETRY_EXAMPLES = """
\b
Examples:
  hive jobs retry batch_6f1e
  hive jobs retry batch_6f1e --wait
"""


@jobs.command("retry", cls=HiveCommand, epilog=RETRY_EXAMPLES)
@click.argument("batch")
@click.option("--wait", is_flag=True, help="Watch the new batch until it is done.")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print the new batch as JSON.")
def retry(batch: str, wait: bool, url: str | None, api_key: str | None, as_json: bool) -> None:
    """Make a new batch of those requests of BATCH that have no result."""
    client = jobs_client(url, api_key)
    new = client.retry(batch)
    _finish(_watch(client, new["id"]) if wait else new, as_json=as_json)


PRUNE_EXAMPLES = """
\b
Examples:
  hive jobs prune --older-than 7d --dry-run
  hive jobs prune --older-than 24h --inputs
"""


@jobs.command("prune", cls=HiveCommand, epilog=PRUNE_EXAMPLES)
@click.option(
    "--older-than",
    default="7d",
    show_default=True,
    help="Of those that were made longer ago, such as 90m, 24h or 7d.",
)
@click.option("--inputs", is_flag=True, help="Their input files, too.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print the deleted batches as JSON.")
def prune(
    older_than: str,
    inputs: bool,
    dry_run: bool,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Delete finished batches with their output and error files."""
    from hive_expert.client.jobs import FINAL

    client = jobs_client(url, api_key)
    before = time.time() - _seconds(older_than)
    found = [b for b in client.batches() if b["status"] in FINAL and b["created_at"] <= before]
    for batch in () if dry_run else found:
        client.delete(batch["id"])
    for file_id in {b["input_file_id"] for b in found} if inputs and not dry_run else ():
        try:
            client.delete_file(file_id)
        except ServerError as error:
            note(f"{file_id} stays: {error.problems[0].what}")
    _each(found, as_json=as_json)
    note(f"{len(found)} batches {'would be' if dry_run else ''} deleted".replace("  ", " "))


def _seconds(text: str) -> int:
    if not text[:-1].isdecimal() or text[-1] not in _SECONDS:
        raise UsageError(Problem("--older-than", f"{text!r} is no time such as 90m, 24h or 7d"))
    return int(text[:-1]) * _SECONDS[text[-1]]


def _finish(batch: dict[str, Any], *, as_json: bool) -> None:
    """Print a batch; exit 1 if it is done and not all of it has a result."""
    from hive_expert.client.jobs import FINAL

    if as_json:
        print_json(batch)
    else:
        _describe(batch)
    bad = batch["status"] != "completed" or batch["request_counts"]["failed"]
    if batch["status"] in FINAL and bad:
        sys.exit(1)


def _each(batches: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(list(batches))
        return
    for batch in batches:
        click.echo(f"{batch['id']}\t{batch['status']}")


def _describe(batch: dict[str, Any]) -> None:
    counts = batch["request_counts"]
    click.echo(f"{batch['id']}\t{batch['status']}")
    click.echo(f"  {counts['completed']} done, {counts['failed']} failed, of {counts['total']}")
    click.echo(f"  {batch['usage']['total_tokens']:,} tokens")
    if batch["status"] in ("validating", "in_progress"):
        click.echo(f"  expires {_when(batch['expires_at'])}")
    for key, name in (("output_file_id", "results"), ("error_file_id", "errors")):
        if batch[key]:
            click.echo(f"  {name}: {batch[key]}")
    for problem in (batch["errors"] or {"data": []})["data"]:
        where = f"line {problem['line']}: " if problem["line"] else ""
        click.echo(f"  {where}{printable(problem['message'])} ({problem['code']})")


def _when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
