"""A program that dies is started again, if it was ready once and nobody told it to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hive_expert.cli.supervise import MAX_RESTARTS, Supervisor

PROGRAM = """
import os, pathlib, signal, sys, time
log, recall = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[-1])
runs = len(log.read_text().splitlines()) if log.exists() else 0
with log.open("a") as f:
    f.write(f"{os.getpid()} {recall.exists()}\\n")
"""


def supervised(tmp_path: Path, what: str) -> tuple[Supervisor, Path]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + what)
    log = tmp_path / "log"
    return Supervisor([sys.executable, str(program), str(log)], backoff_s=0.01), log


def runs(log: Path) -> list[str]:
    return log.read_text().splitlines()


def test_it_comes_back_with_what_it_has_written(tmp_path: Path) -> None:
    supervisor, log = supervised(
        tmp_path, "recall.write_text('x'); sys.exit(0 if runs == 2 else 1)"
    )
    assert supervisor.run() == 0
    assert [line.split()[1] for line in runs(log)] == ["False", "True", "True"]


def test_one_that_was_never_ready_is_not_tried_again(tmp_path: Path) -> None:
    supervisor, log = supervised(tmp_path, "sys.exit(2)")
    assert supervisor.run() == 2
    assert len(runs(log)) == 1


def test_one_that_dies_again_and_again_is_left_dead(tmp_path: Path) -> None:
    supervisor, log = supervised(tmp_path, "recall.write_text('x'); os.kill(os.getpid(), 9)")
    assert supervisor.run() == -9
    assert len(runs(log)) == MAX_RESTARTS + 1


def test_what_it_leaves_behind_is_ended(tmp_path: Path) -> None:
    supervisor, log = supervised(
        tmp_path,
        "child = os.fork()\n"
        "if child == 0: time.sleep(60)\n"
        "else: log.write_text(f'{child} left\\n'); sys.exit(3)",
    )
    assert supervisor.run() == 3
    left = int(runs(log)[0].split()[0])
    deadline = time.monotonic() + 5
    while alive(left):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


RUN = """
import sys
from hive_expert.cli.supervise import Supervisor
sys.exit(Supervisor([sys.executable, *sys.argv[1:]], backoff_s=0.01).run())
"""


@pytest.fixture
def running(tmp_path: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A supervisor in a process of its own, and the program it runs."""
    program = tmp_path / "program.py"
    program.write_text(
        PROGRAM + "signal.signal(signal.SIGHUP, lambda *_: (log.parent / 'reloaded').touch())\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "recall.write_text('x')\n"
        "while True: time.sleep(0.05)\n"
    )
    log = tmp_path / "log"
    process = subprocess.Popen([sys.executable, "-c", RUN, program, log])
    wait_for(lambda: log.exists() and len(runs(log)) == 1 and log.read_text().endswith("\n"))
    time.sleep(0.2)
    return process, int(runs(log)[0].split()[0])


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + 20
    while not condition():  # type: ignore[operator]  # a function without arguments
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_signals_are_passed_on(
    running: tuple[subprocess.Popen[bytes], int], tmp_path: Path
) -> None:
    process, program = running
    process.send_signal(signal.SIGHUP)
    wait_for((tmp_path / "reloaded").exists)
    assert alive(program)
    process.terminate()
    assert process.wait(20) == 0
    assert not alive(program)


def test_the_program_does_not_outlive_its_supervisor(
    running: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, program = running
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    wait_for(lambda: not alive(program))
