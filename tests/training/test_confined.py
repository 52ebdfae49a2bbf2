"""What a confined program cannot do, shown by Python as the program."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from hive_expert.training import confined

RESOURCES = "import resource; print(resource.getrlimit(resource.RLIMIT_{})[0])"


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", confined.__file__, "5", sys.executable, "-I", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_it_becomes_the_program() -> None:
    assert run("print(1 + 1)").stdout == "2\n"


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket()",
        "import socket; socket.socket(socket.AF_UNIX)",
        f"import os; os.kill({os.getpid()}, 0)",
        "import ctypes as c; l = c.CDLL(None, use_errno=True); l.syscall(425, 1, None); "
        "assert c.get_errno() != 1, 'PermissionError'",
    ],
    ids=["network", "local sockets", "signals", "io_uring"],
)
def test_a_denied_call_fails(code: str) -> None:
    done = run(code)
    assert done.returncode != 0
    assert "PermissionError" in done.stderr


def test_processor_time_ends() -> None:
    assert run(RESOURCES.format("CPU")).stdout == "5\n"
    assert run("while True: pass").returncode < 0


def test_files_and_memory_are_bounded() -> None:
    assert run(RESOURCES.format("FSIZE")).stdout == "0\n"
    assert run(RESOURCES.format("CORE")).stdout == "0\n"
    assert "MemoryError" in run("b'x' * (2 << 30)").stderr


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_rule_jumps_within_the_filter(machine: str) -> None:
    rules = confined.filter_program(machine)
    count = len(rules) // 8
    for at in range(count):
        assert at + 1 + rules[8 * at + 2] < count or rules[8 * at] == 6


def test_an_unknown_processor_is_refused() -> None:
    assert platform.machine() in ("x86_64", "aarch64")
    with pytest.raises(KeyError):
        confined.filter_program("mips")
