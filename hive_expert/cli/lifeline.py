"""`hive-serve --lifeline FD`: a server ends with whoever started it, however that one ends.

The starter holds the other end of a pipe. Nothing is ever written there, and the pipe ends when the
starter does, which no signal and no exit handler could promise.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

STOP_AGAIN_S = 60.0
"""Longer than requests that are under way are given to end."""

_LEAVE_NOTHING = (
    "read -r _; seconds=0; "
    'while kill -0 "$1" && [ $seconds -lt "$2" ]; do sleep 1; seconds=$((seconds + 1)); done; '
    "kill -KILL 0"
)


def end_with_starter(lifeline: int) -> None:
    """Stop this process in good order once the pipe has ended, and leave none of its group."""
    _leave_nothing_behind(lifeline)
    threading.Thread(target=_stop_with_starter, args=(lifeline,), daemon=True).start()


def _stop_with_starter(lifeline: int) -> None:
    os.read(lifeline, 1)
    while True:  # a signal between two handlers of it may be forgotten
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_AGAIN_S)


def _leave_nothing_behind(lifeline: int) -> None:
    """Have our whole group ended soon after whoever started us is gone.

    A server that is still starting, or is killed together with whoever started it, leaves an engine
    with all of its memory behind, and then nobody is there to end it. A process of our own group
    waits for that: so the group's number is taken as long as it is needed.
    """
    if os.getpgrp() == os.getpid():
        subprocess.Popen(
            ["sh", "-c", _LEAVE_NOTHING, "sh", str(os.getpid()), f"{STOP_AGAIN_S:.0f}"],
            stdin=lifeline,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
