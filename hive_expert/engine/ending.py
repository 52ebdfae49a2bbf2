"""How a server ends: why, told from inside vLLM's event loop to what started it; and at once.

A server that is told to stop before it listens has nothing to finish, and no way to: vLLM's own
handler raises in the middle of the engine's handshake, where the exception may be lost in a
callback of C code; then each side waits for the other, and no later signal is heard.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from hive_expert.errors import Problem


@dataclass
class Ending:
    """How a run of a server ended. Written once, before vLLM's server returns."""

    asked: bool = False
    """By a signal."""
    failure: Problem | None = None
    """What died."""


def end_at_once_when_told() -> None:
    """Until others take SIGTERM and SIGINT over, have them end this process and its children,
    with the status that a shell gives to such an end."""
    for known in (signal.SIGTERM, signal.SIGINT):
        signal.signal(known, _told)


def end_at_once(status: int) -> NoReturn:
    """End this process and its children, whatever any of them is waiting for."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(status)


def _told(number: int, _frame: FrameType | None) -> None:
    end_at_once(128 + number)
