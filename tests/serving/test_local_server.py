"""A server of one's own is gone when its block ends, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from hive_expert.errors import EngineError
from hive_expert.serving.local_server import START_LIMIT_S, LocalServer, free_port, running_server

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


def test_hive_serve_stops_when_who_started_it_is_gone() -> None:
    reading, writing = os.pipe()
    program = (
        "import sys; from hive_expert.cli import serve; serve._stop_with_parent(int(sys.argv[1]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(reading)], pass_fds=[reading], cwd=ROOT
    )
    os.close(reading)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    os.close(writing)
    assert process.wait(60) == -signal.SIGTERM


LEAVES = """
import subprocess, sys, time
from hive_expert.cli.serve import _leave_nothing_behind
_leave_nothing_behind(int(sys.argv[1]))
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(left.pid, flush=True)
time.sleep(600)
"""


def test_what_a_killed_hive_serve_leaves_behind_goes_with_who_started_it() -> None:
    reading, writing = os.pipe()
    server = subprocess.Popen(
        [sys.executable, "-c", LEAVES, str(reading)],
        stdout=subprocess.PIPE,
        pass_fds=(reading,),
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert server.stdout is not None
        left = int(server.stdout.readline())
        server.kill()
        server.wait()
        assert Path(f"/proc/{left}").exists()
        os.close(writing)
        deadline = time.monotonic() + 60
        while Path(f"/proc/{left}").exists() and _state(left) != "Z":
            assert time.monotonic() < deadline, "it is still there"
            time.sleep(0.1)
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.stdout.close()


def _state(pid: int) -> str:
    """As in `ps`; Z has ended, and nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return "Z"
