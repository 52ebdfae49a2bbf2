"""An end at once ends a process and its children, whatever they wait for."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

WAITS = """
import ctypes, multiprocessing, time
from hive_expert.engine.ending import end_at_once_when_told

end_at_once_when_told()
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    child.start()
    print(child.pid, flush=True)

    @ctypes.CFUNCTYPE(None)
    def loses_exceptions():
        time.sleep(600)

    loses_exceptions()
"""


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_its_children_where_an_exception_would_be_lost(
    told: signal.Signals, tmp_path: Path
) -> None:
    script = tmp_path / "waits.py"
    script.write_text(WAITS)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        process.send_signal(told)
        assert process.wait(30) == 128 + told
    _, left = psutil.wait_procs([child], timeout=20)
    assert left == []
