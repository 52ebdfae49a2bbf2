"""`python -m tests.e2e.chaos`: hours of it, on servers of its own, with faults of the machine."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console

from hive_expert.adapters.base_model import resolve_base
from hive_expert.package.keys import SigningKey, load_signing_key
from tests.e2e.chaos import faults
from tests.e2e.chaos.experts import KINDS, Reference
from tests.e2e.chaos.report import add_runs
from tests.e2e.chaos.run import Fault, Outcome, run
from tests.e2e.chaos.server import KillableServer, slope
from tests.e2e.conftest import command
from tests.e2e.operators import share_operators

progress = Console(stderr=True)
FAULTS = ("none", "kill", "disk", "clock")


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="Of each fault's phase, at least.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--fault", "chosen", multiple=True, type=click.Choice(FAULTS), default=FAULTS, show_default=True
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Results of several runs, which this one is added to.",
)
def main(minutes: float, seed: int, chosen: tuple[str, ...], output: Path | None) -> None:
    """Install, replace, corrupt, remove, load and unload experts under 16 clients.

    Each fault has a server of its own and happens again and again: `kill` kills the engine -9 while
    it loads, `disk` fills the disk of the package store (needs root), `clock` moves the time of day
    (needs a C compiler). The exit status is 1 if an answer was wrong or stale, or a request was
    lost or hung.

    \b
    Examples:
      python -m tests.e2e.chaos --minutes 30
      python -m tests.e2e.chaos --fault kill --fault disk --minutes 5 --output chaos.json
    """
    base = resolve_base().directory
    reference = Reference(base)
    alike = reference.alike(range(KINDS))
    if alike:
        raise click.ClickException(f"{alike} pairs of experts answer alike: a mix-up may not show")
    runs: list[dict[str, Any]] = []
    for fault in dict.fromkeys(chosen):
        with tempfile.TemporaryDirectory(prefix="hive-chaos-") as folder:
            progress.print(f"{fault} …")
            result = phase(fault, Path(folder), base, reference, minutes, seed)
            runs.append({"fault": fault, "seed": seed} | result)
            progress.print_json(data=runs[-1])
    if output:
        add_runs(output, runs)
    else:
        print(json.dumps(runs, indent=2))
    sys.exit(any(not run["ok"] for run in runs))


def phase(
    fault: str, folder: Path, base: Path, reference: Reference, minutes: float, seed: int
) -> dict[str, Any]:
    """One server's life, and with `kill` those of its successors."""
    home, directory = folder / "home", folder / "experts"
    signer = publisher(home)
    directory.mkdir()
    server = KillableServer(directory, home, base, folder / "serve.log")
    store, seconds = home / "data" / "store", 60 * minutes

    def lived_with(fault: Fault | None) -> dict[str, Any]:
        return lived(server, signer, reference, seed, seconds=seconds, fault=fault)

    match fault:
        case "disk":
            with faults.own_disk(store):
                return lived_with(faults.disk_full(store))
        case "clock":
            clock = folder / "clock"
            clock.write_text("0")
            library = str(faults.build_clock(folder))
            server.environment = {"LD_PRELOAD": library, "HIVE_TEST_CLOCK": str(clock)}
            return lived_with(faults.clock_jumps(clock))
        case "kill":
            return lived_with(faults.engine_killed_while_loading(server)) | _NO_SLOPE
    return lived_with(None)


_NO_SLOPE = {"memory slope MiB per hour": None}
"""Each server lives for less than a minute."""


def lived(
    server: KillableServer,
    signer: SigningKey,
    reference: Reference,
    seed: int,
    *,
    seconds: float,
    fault: Fault | None = None,
) -> dict[str, Any]:
    outcome, stop = Outcome(), threading.Event()
    watch = threading.Thread(target=server.watch_memory, args=(stop,), daemon=True)
    try:
        server.start()
        watch.start()
        started = time.monotonic()
        asyncio.run(
            run(
                server.url,
                server.folder,
                signer,
                reference,
                seconds=seconds,
                seed=seed,
                fault=fault,
                outcome=outcome,
            )
        )
        stop.set()
        status = server.stop()
    finally:
        stop.set()
        server.kill()
    minutes = round((time.monotonic() - started) / 60, 1)
    outcome.judge(reference)
    if status != 0:
        outcome.problems.append(f"the server ended with status {status}")
    if not outcome.ok:
        progress.print(outcome.complaint())
        progress.print(server.log.read_text(errors="replace")[-20_000:])
    slopes = {name: round(slope(points), 1) for name, points in server.memory.items()}
    return outcome.summary() | {
        "minutes": minutes,
        "memory MiB each minute": {
            name: [round(used) for _, used in points[::12]]
            for name, points in server.memory.items()
        },
        "memory slope MiB per hour": slopes,
    }


def publisher(home: Path) -> SigningKey:
    """A key that the user of `home` trusts."""
    home.mkdir()
    share_operators(home)
    key = home / "test.pem"
    command("hive-build", "keygen", "--name", "Chaos", "--output", key, home=home)
    command("hive", "trust", "add", home / "test.pub.json", home=home)
    return load_signing_key(key)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
