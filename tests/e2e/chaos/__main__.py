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
from tests.e2e.chaos.run import Fault, Outcome, run
from tests.e2e.chaos.server import KillableServer, slope
from tests.e2e.conftest import command

progress = Console(stderr=True)
FAULTS = ("none", "kill", "disk", "clock")


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="Of the phase without faults.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--fault", "chosen", multiple=True, type=click.Choice(FAULTS), default=FAULTS, show_default=True
)
@click.option("--output", type=click.Path(path_type=Path), help="Where to write the result.")
def main(minutes: float, seed: int, chosen: tuple[str, ...], output: Path | None) -> None:
    """Install, replace, corrupt, remove, load and unload experts under 16 clients.

    Each fault has a server of its own: `kill` kills the engine -9 while it loads, `disk` fills the
    disk of the package store (needs root), `clock` moves the time of day (needs a C compiler). The
    exit status is 1 if an answer was wrong or stale, or a request was lost or hung.

    \b
    Examples:
      python -m tests.e2e.chaos --minutes 30
      python -m tests.e2e.chaos --fault kill --fault disk
    """
    base = resolve_base().directory
    reference = Reference(base)
    alike = reference.alike(range(KINDS))
    if alike:
        raise click.ClickException(f"{alike} pairs of experts answer alike: a mix-up may not show")
    results: dict[str, Any] = {}
    for fault in dict.fromkeys(chosen):
        with tempfile.TemporaryDirectory(prefix="hive-chaos-") as folder:
            progress.print(f"{fault} …")
            results[fault] = phase(fault, Path(folder), base, reference, minutes, seed)
            progress.print_json(data=results[fault])
    text = json.dumps(results, indent=2)
    if output:
        output.write_text(text + "\n")
    else:
        print(text)
    sys.exit(any(not result["ok"] for result in results.values()))


def phase(
    fault: str, folder: Path, base: Path, reference: Reference, minutes: float, seed: int
) -> dict[str, Any]:
    """One server's life."""
    home, directory = folder / "home", folder / "experts"
    signer = publisher(home)
    directory.mkdir()
    server = KillableServer(directory, home, base, folder / "serve.log")
    if fault == "disk":
        with faults.own_disk(home / "data" / "store"):
            fill = faults.disk_full(home / "data" / "store")
            return lived(server, signer, reference, seed, fault=fill)
    if fault == "clock":
        clock = folder / "clock"
        clock.write_text("0")
        library = str(faults.build_clock(folder))
        server.environment = {"LD_PRELOAD": library, "HIVE_TEST_CLOCK": str(clock)}
        return lived(server, signer, reference, seed, fault=faults.clock_jumps(clock))
    if fault == "kill":
        return lived(
            server, signer, reference, seed, fault=faults.engine_killed_while_loading(server)
        )
    return lived(server, signer, reference, seed, seconds=60 * minutes)


def lived(
    server: KillableServer,
    signer: SigningKey,
    reference: Reference,
    seed: int,
    *,
    seconds: float = 0,
    fault: Fault | None = None,
) -> dict[str, Any]:
    outcome, stop = Outcome(), threading.Event()
    watch = threading.Thread(target=server.watch_memory, args=(stop,), daemon=True)
    server.start()
    watch.start()
    started = time.monotonic()
    try:
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
    outcome.judge(reference)
    if status != 0:
        outcome.problems.append(f"the server ended with status {status}")
    if not outcome.ok:
        progress.print(outcome.complaint())
        progress.print(server.log.read_text()[-3000:])
    return outcome.summary() | {
        "minutes": round((time.monotonic() - started) / 60, 1),
        "memory MiB": round(server.memory[-1][1]) if server.memory else None,
        "memory MiB at half time": round(server.memory[len(server.memory) // 2][1])
        if server.memory
        else None,
        "memory slope MiB per hour": round(slope(server.memory), 1),
    }


def publisher(home: Path) -> SigningKey:
    """A key that the user of `home` trusts."""
    home.mkdir()
    key = home / "test.pem"
    command("hive-build", "keygen", "--name", "Chaos", "--output", key, home=home)
    command("hive", "trust", "add", home / "test.pub.json", home=home)
    return load_signing_key(key)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
