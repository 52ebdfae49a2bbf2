"""What the commands of `hive jobs` share: options of batches, and bars that show how far one is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from hive_expert.cli.terminal import console
from hive_expert.errors import Problem, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from hive_expert.client.jobs import JobsClient

F = TypeVar("F", bound=Callable[..., Any])


def batch_options(command: F) -> F:
    """Give a command `--window` and `--metadata`; it gets the latter as a dict."""
    for option in (
        click.option(
            "--metadata",
            multiple=True,
            metavar="KEY=VALUE",
            callback=lambda _context, _option, pairs: _notes(pairs),
            help="A note on each batch that is made; repeatable.",
        ),
        click.option(
            "--window",
            default="24h",
            show_default=True,
            help="How long it may take, such as 90m, 24h or 7d; what is not answered then expires.",
        ),
    ):
        command = option(command)
    return command


def _notes(pairs: tuple[str, ...]) -> dict[str, str]:
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise UsageError(*(Problem("--metadata", f"{p!r} is no KEY=VALUE") for p in wrong))
    return dict(pair.split("=", 1) for pair in pairs)


def jobs_client(url: str | None, api_key: str | None) -> JobsClient:
    """A client of the server that the options name, or of the one on this machine."""
    from hive_expert.client.jobs import JobsClient
    from hive_expert.client.plain_http import DEFAULT_URL

    return JobsClient(url or DEFAULT_URL, api_key)


def upload(client: JobsClient, file: Path, what: str = "uploading") -> str:
    """Upload a file; its id. Raises as `JobsClient.upload`."""
    with bytes_bar(what) as progress:
        task = progress.add_task("", total=file.stat().st_size)
        uploaded = client.upload(file, lambda sent: progress.update(task, completed=sent))
    return str(uploaded["id"])


def bytes_bar(what: str) -> Progress:
    """Shows how much of a file is done."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn())
    return Progress(*columns, console=console, transient=True)


def counting_bar() -> Progress:
    """Shows how many requests have an answer; tasks say what is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True)
