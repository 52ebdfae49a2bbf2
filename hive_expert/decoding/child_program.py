"""The other side of `child.py`: the program that gets ready once and does one job after another.

Its jobs are done by a fork of it. One that ends the fork, by raising, by its limits or by a fault
of native code, costs a new fork, which is ready in milliseconds; imports take seconds, and somebody
else would have to wait for them.

Memory is limited with `setrlimit`, and the processor time of each job with a timer, so that a busy
machine makes no job fail that would pass on a quiet one, and a job ends even when nobody is left to
kill it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn, TypeAlias

from hive_expert.decoding.frames import read, write

MEMORY_BYTES = 1024 * 1024 * 1024
"""What a job's process may map beyond what it has when it is ready."""

Job: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


def serve(prepare: Callable[[dict[str, Any]], Job]) -> None:
    """Be the child: get ready with the first message, then answer each further one.

    The answer to a job is ``{"answer": …}``, or ``{"died": status}`` with what its process died of:
    an exit status, or a signal's number below zero.
    """
    # A group of its own: whoever kills it kills the job as well.
    os.setpgrp()
    # What libraries print must not get between the frames.
    frames_in, frames_out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    greeting = read(frames_in)
    if greeting is None:
        return
    job = prepare(greeting)
    _limit(resource.RLIMIT_AS, _mapped_bytes() + MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    # Objects that are never looked at again stay in memory that the forks share.
    gc.freeze()
    worker = _Worker(job)
    write(frames_out, {"ready": True})
    while (message := read(frames_in)) is not None:
        write(frames_out, worker.answer(message))


class _Worker:
    """A fork of this process, and the one after it.

    Law: a job's answer is never taken for that of another.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._fork()

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """What comes of a job."""
        try:
            write(self._jobs, message)
        except BrokenPipeError:  # it was killed while it had nothing to do
            self._bury()
            self._fork()
            write(self._jobs, message)
        answer = read(self._answers)
        if answer is not None:
            return {"answer": answer}
        status = self._bury()
        self._fork()
        return {"died": status}

    def _fork(self) -> None:
        jobs, answers = os.pipe(), os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(jobs[1])
            os.close(answers[0])
            _work(self._job, os.fdopen(jobs[0], "rb"), os.fdopen(answers[1], "wb"))
        os.close(jobs[0])
        os.close(answers[1])
        self._jobs: BinaryIO = os.fdopen(jobs[1], "wb")
        self._answers: BinaryIO = os.fdopen(answers[0], "rb")

    def _bury(self) -> int:
        with contextlib.suppress(BrokenPipeError):
            self._jobs.close()
        self._answers.close()
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def _work(job: Job, jobs: BinaryIO, answers: BinaryIO) -> NoReturn:
    """Do jobs until there are no more, or one raises: it may have left anything behind."""
    status = 1
    try:
        while (message := read(jobs)) is not None:
            # Without a handler the signal ends the process, whatever native code it is in.
            signal.setitimer(signal.ITIMER_PROF, message["limit_s"])
            answer = job(message)
            signal.setitimer(signal.ITIMER_PROF, 0)
            write(answers, answer)
        status = 0
    except BaseException as error:
        # Its message may hold what a client has sent, or a model answered: no log gets that.
        at = traceback.extract_tb(error.__traceback__)[-1]
        print(f"a job failed: {type(error).__name__} at {at.filename}:{at.lineno}", file=sys.stderr)
        raise
    finally:
        # Nothing of what this process has from the one before it is its own to clear up.
        os._exit(status)


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (allowed, hard))


def _mapped_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - not a path of ours
        return int(file.read().split()[0]) * resource.getpagesize()
