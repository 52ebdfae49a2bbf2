"""A server that is told to stop while it starts does so at once, and leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from hive_expert.serving.local_server import free_port

pytestmark = pytest.mark.e2e

LIMIT_S = 120.0
SOON_S = 10.0
"""Less than the rest of a start takes, which would end a server too."""


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_is_stopped_ends_at_once(
    told: signal.Signals, base_model: Path, publisher: Path, tmp_path: Path
) -> None:
    program, log = Path(sys.executable).parent / "hive-serve", tmp_path / "serve.log"
    command = [program, "--experts-dir", tmp_path, "--port", str(free_port())]
    with log.open("wb") as output:
        server = psutil.Popen(
            [*command, "--base", base_model],
            env=os.environ | {"HIVE_HOME": str(publisher)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    children: list[psutil.Process] = []
    try:
        children = with_its_engine(server)
        server.send_signal(told)
        assert server.wait(SOON_S) == 128 + told, log.read_text(errors="replace")[-4000:]
        _, left = psutil.wait_procs(children, timeout=SOON_S)
    finally:
        for process in (*children, server):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    assert left == []


def with_its_engine(server: psutil.Popen) -> list[psutil.Process]:
    """The server's children, as soon as the engine is among them and has begun to load."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        children = server.children(recursive=True)
        if any("EngineCore" in " ".join(child.cmdline()) for child in children):
            return children
        time.sleep(0.1)
    raise AssertionError("no engine")
