"""A scheduler in which whoever waits goes before batches at once, not only when memory is short.

vLLM's priorities order the requests that have not begun. Those that have go on in every step; so a
new prompt waits for a step that may be reading several prompts of batches, and is then read in a
step of its own size together with all of them. Here,

- while a prompt is read, requests of a lower priority leave out the step: they keep their places
  and their cache, nothing of theirs is computed again, and none of them begins;
- while somebody is there, or was lately, prompts of batches are read in small pieces, since the
  step that is being computed when somebody comes cannot be broken off, and his next token waits
  for all of it.

Nothing is different where there are no requests of batches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

PATIENT = 10
"""Priority from which on nobody waits for a request (`serving.agents.PriorityClass`)."""

PIECE = 64
"""Prompt tokens of batches in one step, while somebody may come."""

LATELY_S = 10.0

IN_A_ROW = 8
"""Steps that are left out at most before all take one, so that nobody starves."""


class _Yielding:
    """What both of vLLM's schedulers get. Its base is one of them."""

    running: list[Request]
    waiting: Any
    current_step: int
    max_num_scheduled_tokens: int
    max_num_active_reqs: int
    num_waiting_for_streaming_input: int
    lora_config: Any
    _handle_blocked_waiting_request: Callable[[Request], bool]

    _left_out = 0
    """Steps in a row that some have left out."""
    _someone_at = -math.inf
    """When there last was somebody who waits."""

    def add_request(self, request: Request) -> None:
        if request.priority < PATIENT:
            self._someone_at = time.monotonic()
        super().add_request(request)  # type: ignore[misc]  # vLLM's, see above

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        with self._room_for_the_urgent():
            return super().schedule(throttle_prefills)  # type: ignore[misc]  # vLLM's, see above

    @contextmanager
    def _room_for_the_urgent(self) -> Iterator[None]:
        """Bound the step within the block."""
        tokens, active = self.max_num_scheduled_tokens, self.max_num_active_reqs
        if any(request.priority >= PATIENT for request in (*self.running, *self.waiting)):
            self._bound()
        try:
            yield
        finally:
            self.max_num_scheduled_tokens, self.max_num_active_reqs = tokens, active

    def _bound(self) -> None:
        beginners = list(self._beginners())
        being_read = [request.priority for request in self.running if request.is_prefill_chunk]
        urgency = min((*being_read, *beginners), default=None)
        if urgency is None:
            return
        if self._yield_to(urgency):
            begin = sum(priority <= urgency for priority in beginners)
            present = len(self.running) + self.num_waiting_for_streaming_input
            self.max_num_active_reqs = min(self.max_num_active_reqs, present + begin)
        elif urgency >= PATIENT and self._someone_lately():
            most = len(self.running) + PIECE
            self.max_num_scheduled_tokens = min(self.max_num_scheduled_tokens, most)

    def _beginners(self) -> Iterator[int]:
        """The priorities of those that can begin now, the most urgent first.

        Their adapters must have slots beside those of all that have begun, whether these take the
        step or leave it out: vLLM asks about the former only, and would have too many in the next.
        """
        adapters = {_adapter(request) for request in self.running} - {0}
        for request in self.waiting:
            if not self._handle_blocked_waiting_request(request):
                continue
            adapters |= {_adapter(request)} - {0}
            if self.lora_config is not None and len(adapters) > self.lora_config.max_loras:
                return
            yield request.priority

    def _yield_to(self, urgency: int) -> bool:
        """Have the patient of a lower priority leave out this step; whether there are any."""
        least = max(PATIENT, urgency + 1)
        others = [request for request in self.running if request.priority >= least]
        if not others and all(request.priority < least for request in self.waiting):
            self._left_out = 0
            return False
        self._left_out = (self._left_out + 1) % (IN_A_ROW + 1)
        if not self._left_out:
            return False
        for request in others:
            request.next_decode_eligible_step = self.current_step + 2
        return True

    def _someone_lately(self) -> bool:
        if any(request.priority < PATIENT for request in self.running):
            self._someone_at = time.monotonic()
        return time.monotonic() - self._someone_at < LATELY_S


def _adapter(request: Request) -> int:
    """The number of its adapter; 0 for none, as vLLM has it."""
    return request.lora_request.lora_int_id if request.lora_request else 0


class YieldingScheduler(_Yielding, Scheduler):
    """For an engine that schedules a step when the one before is done, as on the CPU."""


class AsyncYieldingScheduler(_Yielding, AsyncScheduler):
    """For an engine that schedules a step ahead."""


def scheduler(*, vllm_config: Any, **arguments: Any) -> Scheduler:
    """The scheduler of an engine, as vLLM makes it."""
    ahead = vllm_config.scheduler_config.async_scheduling
    made = AsyncYieldingScheduler if ahead else YieldingScheduler
    return made(vllm_config=vllm_config, **arguments)
