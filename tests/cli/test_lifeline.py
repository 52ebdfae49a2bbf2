"""A server ends with whoever started it: told until it listens, and killed if it never does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 60

WATCHES = """
import signal, subprocess, sys, time
from hive_expert.cli import lifeline
lifeline.STOP_AGAIN_S = float(sys.argv[2])
lifeline.end_with_starter(int(sys.argv[1]))
"""


@contextmanager
def watching(
    program: str, stop_again_s: float = 600, *, group: bool = False
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A program that ends with its starter, and the end of the pipe that stands for him."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHES + program, str(reading), str(stop_again_s)],
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[reading],
        start_new_session=group,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    os.close(reading)
    try:
        yield process, writing
    finally:
        with suppress(OSError):
            os.close(writing)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL) if group else process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_it_stops_when_its_starter_is_gone_and_not_before() -> None:
    with watching("time.sleep(600)") as (process, starter):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        os.close(starter)
        assert process.wait(LIMIT_S) == -signal.SIGTERM


FORGETS = """
told = []
def forget(*_):
    told.append(1)
    print("told", flush=True)
    if len(told) == 3:
        sys.exit(3)
signal.signal(signal.SIGTERM, forget)
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""


def test_one_that_forgets_is_told_again() -> None:
    with watching(FORGETS, stop_again_s=0.2) as (process, starter):
        assert line(process) == "ready"
        os.close(starter)
        assert process.wait(LIMIT_S) == 3
        assert process.stdout is not None
        assert process.stdout.read().split() == ["told"] * 3


def test_one_that_never_listens_is_killed_with_its_group() -> None:
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)\n"
    with watching(deaf + "time.sleep(600)", stop_again_s=1, group=True) as (process, starter):
        assert line(process) == "ready"
        os.close(starter)
        assert process.wait(LIMIT_S) == -signal.SIGKILL


ENDS_SLOWLY = """
def end(*_):
    time.sleep(3)
    print("ended in good order", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(600)
"""


def test_one_that_takes_its_time_has_it() -> None:
    with watching(ENDS_SLOWLY, stop_again_s=LIMIT_S, group=True) as (process, starter):
        assert line(process) == "ready"
        os.close(starter)
        assert line(process) == "ended in good order"
        assert process.wait(LIMIT_S) == 0


LEAVES = """
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(left.pid, flush=True)
time.sleep(600)
"""


def test_what_a_killed_one_leaves_behind_goes_with_its_starter() -> None:
    with watching(LEAVES, group=True) as (process, starter):
        left = int(line(process))
        process.kill()
        process.wait()
        assert _state(left) != "Z"
        os.close(starter)
        deadline = time.monotonic() + LIMIT_S
        while _state(left) != "Z":
            assert time.monotonic() < deadline, "it is still there"
            time.sleep(0.1)


def _state(pid: int) -> str:
    """As in `ps`; Z has ended, and nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return "Z"
