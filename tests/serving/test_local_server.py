"""A server of one's own is gone when its block ends, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from hive_expert.errors import EngineError
from hive_expert.serving.local_server import (
    START_LIMIT_S,
    LocalServer,
    free_port,
    local_server,
    running_server,
)

ROOT = Path(__file__).parents[2]

PROGRAM = """
import signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

def stop(*_):
    print("told to stop", flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""


def start(  # type: ignore[no-untyped-def]  # a context manager
    log: Path, program: str = PROGRAM, *arguments: str, limit_s: float = START_LIMIT_S
):
    port = free_port()
    command = [sys.executable, "-c", program, str(port), *arguments]
    return running_server(
        command,
        f"http://127.0.0.1:{port}",
        environment=os.environ,
        log=log,
        start_limit_s=limit_s,
    )


def test_it_answers_while_the_block_runs_and_is_told_to_stop(tmp_path: Path) -> None:
    with start(tmp_path / "log") as server:
        assert server.process.poll() is None
        assert server.api == f"{server.url}/v1"
    assert server.process.returncode == 0
    assert "told to stop" in (tmp_path / "log").read_text()


def test_it_is_told_to_stop_when_the_block_fails(tmp_path: Path) -> None:
    seen: list[LocalServer] = []
    with pytest.raises(ZeroDivisionError), start(tmp_path / "log") as server:
        seen.append(server)
        raise ZeroDivisionError
    assert seen[0].process.returncode == 0
    assert "told to stop" in (tmp_path / "log").read_text()


WITH_ENGINE = """
import os, signal, sys, time

engine = os.fork()
if engine == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
print(engine, flush=True)
if sys.argv[2:] != ["ends"]:
    time.sleep(600)
"""


@pytest.mark.parametrize("end", ["too slow", "ends"])
def test_nothing_that_it_started_outlives_it(tmp_path: Path, end: str) -> None:
    log = tmp_path / "log"
    reason = "status 0" if end == "ends" else "not up after 3 s"
    with pytest.raises(EngineError, match=reason), start(log, WITH_ENGINE, end, limit_s=3):
        pytest.fail("it never answered")
    engine = int(log.read_text())
    assert gone(engine)


def gone(process: int, patience_s: float = 60) -> bool:
    """Whether a process ends; one that only waits for its parent's attention has ended."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_one_that_ends_at_once_is_told_with_what_it_printed(tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match=r"status 3.*no such model"),
        start(tmp_path / "log", "import sys; print('no such model'); sys.exit(3)"),
    ):
        pytest.fail("it never answered")


def test_ctrl_c_reaches_it_through_us_alone_and_stops_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    mine = f"""
import sys, time
from pathlib import Path
from tests.serving.test_local_server import start
with start(Path({str(log)!r})) as server:
    print(server.process.pid, flush=True)
    time.sleep(300)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", mine], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        cwd=ROOT, start_new_session=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        process.wait(60)
    assert log.read_text().count("told to stop") == 1
    assert not Path(f"/proc/{server}").exists()


def test_it_asks_for_no_key_that_is_meant_for_another_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Mapping[str, str]] = []

    def started(*_: object, environment: Mapping[str, str], **__: object) -> Any:
        seen.append(environment)
        return nullcontext()

    monkeypatch.setattr("hive_expert.serving.local_server.running_server", started)
    for name in ("HIVE_API_KEY", "HIVE_ADMIN_KEY", "HIVE_HOME"):
        monkeypatch.setenv(name, "of the user")
    with local_server(tmp_path), local_server(tmp_path, variables={"HIVE_API_KEY": "its own"}):
        pass
    for environment in seen:
        assert "HIVE_ADMIN_KEY" not in environment
        assert environment["HIVE_HOME"] == "of the user"
    assert [environment.get("HIVE_API_KEY") for environment in seen] == [None, "its own"]
