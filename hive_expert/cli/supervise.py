"""`hive-serve --supervise`: a parent that starts the server again when it dies.

The parent imports nothing heavy and holds nothing: what the server needs to come back as it was
stands in a file (`serving.recall`). A server that was never ready is not started again, since
trying would not mend its command line.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from rich.text import Text

from hive_expert.cli.terminal import note

MAX_RESTARTS = 5
"""Within `WINDOW_S`; a server that dies more often is left dead."""
WINDOW_S = 600.0
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_PR_SET_PDEATHSIG = 1


@dataclass
class Supervisor:
    """Keeps one program running."""

    command: Sequence[str]
    """Gets ``--recall FILE`` added; it writes the file once it is ready."""
    backoff_s: float = 1.0
    """Before the first restart; twice as long before each one after it."""
    _child: subprocess.Popen[bytes] | None = None
    _stopping: bool = False
    _restarts: list[float] = field(default_factory=list)

    def run(self) -> int:
        """Run until told to stop, or until it is no use; the program's last status."""
        with tempfile.TemporaryDirectory(prefix="hive-") as folder, self._signals():
            recall = Path(folder) / "recall.json"
            while True:
                status = self._run_once(recall)
                if self._stopping or status == 0 or not recall.exists():
                    return status
                delay_s = self._delay_s()
                if delay_s is None:
                    died = f" hive-serve died {MAX_RESTARTS + 1} times in a short time"
                    note(Text.assemble(("error:", "red"), died))
                    return status
                note(f"hive-serve ended with status {status}: starting again in {delay_s:g} s")
                self._sleep(delay_s)
                if self._stopping:
                    return status

    def _run_once(self, recall: Path) -> int:
        self._child = subprocess.Popen(
            [*self.command, "--recall", str(recall)],
            start_new_session=True,
            preexec_fn=_die_with_parent,  # nothing here runs in threads
        )
        try:
            return self._child.wait()
        finally:
            # Its engine, if it has left one behind: two would not fit into memory.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def _delay_s(self) -> float | None:
        """How long to wait before the next start; None if there have been too many."""
        now = time.monotonic()
        self._restarts = [t for t in self._restarts if now - t < WINDOW_S]
        if len(self._restarts) >= MAX_RESTARTS:
            return None
        self._restarts.append(now)
        return float(self.backoff_s * 2 ** (len(self._restarts) - 1))

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < deadline:
            time.sleep(min(0.1, seconds))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._forward) for number in FORWARDED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            self._stopping = True
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)


def _die_with_parent() -> None:
    """Have the kernel stop the server if its supervisor is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
