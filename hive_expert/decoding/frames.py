"""How a server and its child processes talk: JSON objects, each after its length.

The child's side: :func:`serve` answers one message after another until its input ends. Memory is
limited with `setrlimit`, and the processor time of each job with a timer, so that a busy machine
makes no job fail that would pass on a quiet one, and the child ends even when nobody is left to
kill it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, TypeAlias

LENGTH = struct.Struct("<I")
MAX_FRAME = 64 * 1024 * 1024
MEMORY_BYTES = 1024 * 1024 * 1024
"""What a child may map beyond what it has when it is ready."""

Job: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


def pack(message: Mapping[str, Any]) -> bytes:
    """One frame."""
    data = json.dumps(message).encode()
    return LENGTH.pack(len(data)) + data


def unpack(data: bytes) -> dict[str, Any]:
    """The message of a frame's content; ValueError where it is not a JSON object."""
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError("not a message")  # noqa: TRY004 - one error type for whatever is broken
    return message


def serve(prepare: Callable[[dict[str, Any]], Job]) -> None:
    """Be the child: get ready with the first message, then answer each further one.

    A job that raises ends the process: it may have left anything behind.
    """
    # What libraries print must not get between the frames.
    frames_in, frames_out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    greeting = _read(frames_in)
    if greeting is None:
        return
    job = prepare(greeting)
    _limit(resource.RLIMIT_AS, _mapped_bytes() + MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    _write(frames_out, {"ready": True})
    while (message := _read(frames_in)) is not None:
        # Without a handler the signal ends the process, whatever native code it is in.
        signal.setitimer(signal.ITIMER_PROF, message["limit_s"])
        answer = job(message)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(frames_out, answer)


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (allowed, hard))


def _mapped_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - not a path of ours
        return int(file.read().split()[0]) * resource.getpagesize()


def _read(source: BinaryIO) -> dict[str, Any] | None:
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return unpack(source.read(LENGTH.unpack(head)[0]))


def _write(target: BinaryIO, message: Mapping[str, Any]) -> None:
    target.write(pack(message))
    target.flush()
