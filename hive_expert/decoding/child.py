"""A child process for work that may never end: it answers in time, or is killed and replaced.

Compilers of grammars, parsers and regular expressions can be made to run for minutes or to take
all memory by crafted input, in native code that no exception stops. So they run here, one job
after another, in a program that speaks frames over its pipes (`child_program.py`). Starting one
takes seconds where it imports a lot; hence it is kept, and does its jobs in a fork of itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hive_expert.decoding.frames import LENGTH, MAX_FRAME, pack, unpack
from hive_expert.decoding.turns import OWNER, Turns

MAX_WAITING = 64
"""Jobs that wait for the child; one more is turned away, unless it is its owner's only one."""
MAX_WAITING_EACH = 16
"""Those that wait on behalf of one owner, where owners are told apart."""
MAX_WAIT_S = 30.0
"""How long a job waits for its turn, or for a new process, before it is turned away."""
PATIENCE = 12
"""How many times its processor time a job may take on the clock: the machine has other work."""
START_LIMIT_S = 60.0

# A child needs no accelerator, no pool of threads and none of the server's plugins.
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "VLLM_PLUGINS": "",
    "PYTHONWARNINGS": "ignore",
}


class ChildError(Exception):
    """A job that got no answer; ``str`` says why. For the caller beside it, never for a user."""


class TooSlowError(ChildError):
    """It ran past its limit."""


class CrashedError(ChildError):
    """The child died under it: out of memory, or a fault of native code."""


class BusyError(ChildError):
    """The machine or the child has too much to do, or there is no process; that says nothing of
    the job."""


@dataclass
class Child:
    """One program and its process, at most one job in it at a time.

    Laws: a job ends within its limit plus a kill, or twice that where the program dies beside it,
    whatever its input; a job that fails harms no other; owners (`turns.OWNER`) take turns, and each
    one's jobs keep the order of its calls.
    """

    module: str
    """The Python module that is run; it calls :func:`hive_expert.decoding.child_program.serve`."""
    greeting: Mapping[str, Any] = field(default_factory=dict)
    """The first message, which the program gets ready with."""
    start_limit_s: float = START_LIMIT_S
    _process: asyncio.subprocess.Process | None = None
    _turns: Turns = field(default_factory=Turns)
    _replacing: asyncio.Task[None] | None = None
    _closed: bool = False

    async def ask(self, message: Mapping[str, Any], *, limit_s: float) -> dict[str, Any]:
        """The program's answer, for at most ``limit_s`` of processor time.

        On the clock it may take ``PATIENCE`` times as long, and ``MAX_WAIT_S`` for its turn.

        Raises:
            ChildError: TooSlowError, CrashedError or BusyError.
        """
        owner = OWNER.get()
        if self._closed or not self._has_room(owner):
            raise BusyError("too many are waiting to be checked")
        await self._take_turn(owner)
        try:
            try:
                outcome = await self._outcome({**message, "limit_s": limit_s}, limit_s)
            except CrashedError:
                # Jobs run in a fork: the program itself is killed by others, perhaps long ago.
                # One job that two programs die under is to blame.
                outcome = await self._outcome({**message, "limit_s": limit_s}, limit_s)
        finally:
            self._turns.release()
        return _answer(outcome, limit_s)

    async def start(self) -> None:
        """Start the process ahead of need.

        Raises:
            BusyError: it does not come up.
        """
        await self._turns.acquire(None)
        try:
            await self._started()
        finally:
            self._turns.release()

    async def close(self) -> None:
        """Kill the process; later jobs are turned away."""
        self._closed = True
        if self._replacing is not None:
            self._replacing.cancel()
        await self._kill()

    def _has_room(self, owner: str | None) -> bool:
        own = self._turns.waiting(owner)
        if owner is not None and own >= MAX_WAITING_EACH:
            return False
        # However many others wait, an owner with nothing waiting may wait for one job.
        return self._turns.all_waiting < MAX_WAITING or (owner is not None and own == 0)

    async def _take_turn(self, owner: str | None) -> None:
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await self._turns.acquire(owner)
        except TimeoutError as error:
            raise BusyError(f"waited {MAX_WAIT_S:g} s for others to be checked") from error

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        if self._closed:
            raise BusyError("it was closed")
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self.module,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=os.environ | _ENVIRONMENT,
            )
        except OSError as error:
            raise BusyError(f"no process for it: {error.strerror}") from error
        try:
            await self._exchange(self._process, self.greeting, self.start_limit_s)
        except CrashedError as error:
            # It has not seen the job yet.
            raise BusyError("the process died while it got ready") from error
        return self._process

    async def _outcome(self, message: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        process = await self._started()
        try:
            return await self._exchange(process, message, limit_s * PATIENCE)
        finally:
            if self._process is None:
                self._replace()

    async def _exchange(
        self, process: asyncio.subprocess.Process, message: Mapping[str, Any], limit_s: float
    ) -> dict[str, Any]:
        finished = False
        try:
            async with asyncio.timeout(limit_s):
                answer = await _converse(process, message)
            finished = True
        except TimeoutError as error:
            raise BusyError(f"no answer in {limit_s:g} s") from error
        except (EOFError, ConnectionError, ValueError) as error:
            raise CrashedError("the process died of it") from error
        else:
            return answer
        finally:
            # Also when the caller is cancelled: half an exchange would garble the next.
            if not finished:
                await self._kill()

    def _replace(self) -> None:
        """Start the next process now, so that the next job need not wait for all of it."""
        if not self._closed:
            self._replacing = asyncio.get_running_loop().create_task(self._start_quietly())

    async def _start_quietly(self) -> None:
        with contextlib.suppress(ChildError):
            await self.start()

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            # Its fork, too; before the program has begun there is no group yet.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _answer(outcome: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
    """What the job answered, or why it could not."""
    if "answer" in outcome:
        return dict(outcome["answer"])
    if outcome["died"] == -signal.SIGPROF:
        raise TooSlowError(f"took more than {limit_s:g} s")
    raise CrashedError("the process died of it")


async def _converse(
    process: asyncio.subprocess.Process, message: Mapping[str, Any]
) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(pack(message))
    await process.stdin.drain()
    length = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))[0]
    if length > MAX_FRAME:
        raise ValueError("an answer of that size is no answer")
    return unpack(await process.stdout.readexactly(length))
