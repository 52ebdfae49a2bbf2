"""What may go wrong around a server: its engine dies, the disk is full, the clock jumps."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests.e2e.chaos.clients import Ledger
from tests.e2e.chaos.directory import CHANGING, Directory
from tests.e2e.chaos.run import Fault
from tests.e2e.chaos.server import KillableServer

CALM_S = 8.0
DAYS = 86_400
ROOM = 2 << 20
"""Bytes that are left on the disk when it is about to be full: for a few packages."""


def engine_killed_while_loading(server: KillableServer) -> Fault:
    """Kill -9 the engine at a random moment of a load; the server must end by itself, with a status
    that says so, and is started again."""
    draw = random.Random(0)

    async def fault(directory: Directory, ledger: Ledger) -> None:
        await asyncio.sleep(CALM_S)
        name = draw.choice(CHANGING)
        await directory.do(directory.replace_and_confirm, name)
        engine = server.engine()
        ledger.dying = True
        loading = asyncio.create_task(_load(directory, name))
        await asyncio.sleep(draw.uniform(0, 0.05))
        engine.kill()
        await loading
        status = await asyncio.to_thread(server.process.wait, 60)
        if status == 0:
            directory.problems.append("the engine died, and the server's status says nothing")
        await asyncio.to_thread(server.start)
        await directory.rescan("")
        ledger.dying = False
        directory.done["kill -9 of the engine"] += 1
        await asyncio.sleep(CALM_S)

    return fault


async def _load(directory: Directory, name: str) -> None:
    """Whatever comes of it: the engine is dying."""
    with suppress(httpx.HTTPError):
        await directory.unload(name)
        await directory.load(name)


def disk_full(store: Path) -> Fault:
    """Let the store's disk fill up, to the last byte in the end, then give it room."""

    async def fault(directory: Directory, ledger: Ledger) -> None:
        await asyncio.sleep(CALM_S)
        directory.confirming, ledger.full = False, True
        for room in (ROOM, 0):
            _leave(store, room)
            await asyncio.sleep(2 * CALM_S)
        _resize(store, "2g")
        await directory.rescan("")
        directory.confirming = True
        directory.done["disk full"] += 1
        for name in CHANGING:
            await directory.do(directory.replace_and_confirm, name)
        ledger.full = False
        await asyncio.sleep(CALM_S)

    return fault


@contextmanager
def own_disk(place: Path) -> Iterator[None]:
    """A file system in memory at a folder, to be filled. Needs root."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def _resize(place: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)


def _leave(place: Path, room: int) -> None:
    """Make a disk so small that only so many bytes are free."""
    while True:
        try:
            _resize(place, str(_used(place) + room))
            return
        except subprocess.CalledProcessError:
            pass  # something was written in between, and the new size is below what is used


def _used(place: Path) -> int:
    status = os.statvfs(place)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def clock_jumps(clock: Path) -> Fault:
    """Three days forward, six back, and right again."""

    async def fault(directory: Directory, ledger: Ledger) -> None:
        for offset in (0, 3 * DAYS, -3 * DAYS, 0):
            clock.write_text(str(offset))
            await asyncio.sleep(CALM_S)
            for name in CHANGING[:2]:
                await directory.do(directory.replace_and_confirm, name)
            directory.done["clock jump"] += 1

    return fault


def build_clock(folder: Path) -> Path:
    """The library that shifts a process's time of day. Needs a C compiler."""
    source = Path(__file__).with_name("clock.c")
    library = folder / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return library
