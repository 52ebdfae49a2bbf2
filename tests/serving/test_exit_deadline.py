"""A process that is to end does, and says what it hung on."""

from __future__ import annotations

import subprocess
import sys

from hive_expert.serving import exit_deadline

HANGS = """
import threading, time
from hive_expert.serving.exit_deadline import exit_within

def waits_for_ever():
    time.sleep(600)

threading.Thread(target=waits_for_ever).start()
exit_within({seconds})
{then}
"""


def ended(seconds: float, then: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", HANGS.format(seconds=seconds, then=then)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


def test_a_process_that_hangs_at_its_end_is_ended_and_says_where_it_hung() -> None:
    status, told = ended(0.3)
    assert status == exit_deadline.STATUS
    assert "still here 0.3 s after it was to end" in told
    assert "in waits_for_ever" in told


def test_one_that_ends_by_itself_keeps_its_own_status() -> None:
    assert ended(600, "import os; os._exit(7)") == (7, "")
