"""A server that is to end does end, whatever hangs on the way.

Between the last answer and the end of the process stand the database of batches, the exporter of
traces, vLLM's engine and the threads of several libraries, any of which may wait for something that
does not come. A supervisor would wait for such a process for ever.
"""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading

from hive_expert.engine.ending import end_at_once

log = logging.getLogger("hive_expert.serving")

STATUS = 1


def exit_within(seconds: float) -> None:
    """End this process and its children with status 1, if it has not ended in good order by then.

    What each of its threads waited for is written to stderr.
    """
    timer = threading.Timer(seconds, _leave, (seconds,))
    timer.daemon = True  # one that is left alone holds nothing up
    timer.start()


def _leave(seconds: float) -> None:
    log.critical("still here %g s after it was to end: what hangs is left behind", seconds)
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
    end_at_once(STATUS)
