"""Starts a program that cannot reach the network, signal others or grow without end.

Run as a script, it limits itself, to so many seconds of processor time among others, and then
becomes the program: ``python confined.py SECONDS PROGRAM …``.
It imports nothing of ours, so it can run isolated (``-I``), and starts in milliseconds.

What it denies, by a seccomp filter that no later program can lift: making sockets, sending
signals, tracing, io_uring (which can do all of these). What it limits: memory and processor
time; files cannot be written beyond zero bytes, and no core is dumped. What it leaves to the
program: reading files and starting further programs. Node's permission model denies both.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys

MEMORY_BYTES = 1 << 30

# (AUDIT_ARCH, numbers of socket, connect, ptrace, kill, tkill, tgkill, rt_sigqueueinfo); the last
# two, pidfd_send_signal and io_uring_setup, have the same number everywhere.
_CALLS = {
    "x86_64": (0xC000003E, (41, 42, 101, 62, 200, 234, 129, 424, 425)),
    "aarch64": (0xC00000B7, (198, 203, 117, 129, 130, 131, 138, 424, 425)),
}

# linux/filter.h, linux/seccomp.h, linux/prctl.h
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | 1  # EPERM
_AT_NUMBER, _AT_ARCHITECTURE = 0, 4
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_X32_CALLS = 0x40000000


def filter_program(machine: str) -> bytes:
    """The filter in BPF instructions. KeyError for a processor whose calls are not known here."""
    architecture, denied = _CALLS[machine]
    rules = [(_LOAD, 0, 0, _AT_ARCHITECTURE), (_JUMP_EQUAL, 1, 0, architecture)]
    rules += [(_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _AT_NUMBER)]
    # Each test jumps over what is left of the tests, and over the allowing return.
    tests = [(_JUMP_AT_LEAST, _X32_CALLS)] + [(_JUMP_EQUAL, number) for number in denied]
    rules += [(kind, len(tests) - at, 0, value) for at, (kind, value) in enumerate(tests)]
    rules += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("<HBBI", *rule) for rule in rules)


def deny_calls() -> None:
    """Install the filter for this process and what it becomes. OSError where that fails."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("rules", ctypes.c_void_p))

    rules = filter_program(platform.machine())
    buffer = ctypes.create_string_buffer(rules, len(rules))
    program = Program(len(rules) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0),
        (_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "the kernel does not take a seccomp filter")


def limit_resources(seconds: int) -> None:
    """Memory, processor time, files."""
    limits = {
        resource.RLIMIT_DATA: MEMORY_BYTES,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        _, hard = resource.getrlimit(kind)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))


if __name__ == "__main__":
    limit_resources(int(sys.argv[1]))
    deny_calls()
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the caller's own program; no shell
