"""A scheduler in which whoever waits goes before batches at once, not only when memory is short.

vLLM's priorities order the requests that have not begun. Those that have go on in every step; so a
new prompt waits for a step that may be reading several prompts of batches, and is then read in a
step of its own size together with all of them. Here,

- while a prompt is read, requests of batches with a lower priority leave out the step: they keep
  their places and their cache, nothing of theirs is computed again, and none of them begins;
- while somebody is there, or was lately, prompts of batches are read in small pieces, after all
  requests that need their next token only: the step that is being computed when somebody comes
  cannot be broken off, and his next token waits for all of it;
- while somebody waits for an adapter and all slots are taken, one that batches alone use gets no
  new requests.

Where there are no requests of batches, a look whether there are any is all that is added, and one
at the clock.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

from hive_expert.engine.overflow import FailsOverflows
from hive_expert.engine.pace import Pace

PATIENT = 10
"""Priority from which on nobody waits for a request (`serving.agents.PriorityClass`)."""

PIECE = 64
"""Prompt tokens of batches that one step may have at least, while somebody may come."""

STEP_S = 0.18
"""More of them are in it as long as it takes no longer than this: on two cores 64 beside 47 next
tokens, on a GPU thousands."""

LATELY_S = 10.0

IN_A_ROW = 8
"""Steps that are left out at most before all take one, so that nobody starves."""


class _Yielding:
    """What both of vLLM's schedulers get. Its base is one of them."""

    requests: dict[str, Request]
    running: list[Request]
    waiting: Any
    kv_holding_waiting: Any
    current_step: int
    max_num_scheduled_tokens: int
    max_num_active_reqs: int
    num_waiting_for_streaming_input: int
    scheduler_config: Any
    lora_config: Any
    _handle_blocked_waiting_request: Callable[[Request], bool]

    _left_out = 0
    """Steps in a row that some have left out."""
    _someone_at = -math.inf
    """When there last was somebody who waits."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._pace = Pace()

    def add_request(self, request: Request) -> None:
        if request.priority < PATIENT:
            self._someone_at = time.monotonic()
        super().add_request(request)  # type: ignore[misc]  # vLLM's, see above

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        # Requests that wait and hold memory are there only where input comes as a stream, or caches
        # from elsewhere. vLLM lets them begin before all others.
        patient = any(request.priority >= PATIENT for request in self.requests.values())
        bounded = patient and not self.kv_holding_waiting
        with self._bounded() if bounded else nullcontext():
            output: SchedulerOutput = super().schedule(throttle_prefills)  # type: ignore[misc]  # vLLM's, see above
        self._pace.begun(output)
        return output

    def update_from_output(self, scheduler_output: SchedulerOutput, answers: Any) -> Any:
        self._pace.done(scheduler_output, scheduler_output.total_num_scheduled_tokens)
        return super().update_from_output(scheduler_output, answers)  # type: ignore[misc]  # vLLM's

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Have the step within the block serve the most urgent of the prompts to be read."""
        beginners, stuck = self._beginners()
        begun = [request for request in self.running if request.is_prefill_chunk]
        reading = begun + beginners
        urgency = min((request.priority for request in reading), default=None)
        least = PATIENT if urgency is None else max(PATIENT, urgency + 1)
        urgent = [request for request in reading if request.priority < least]
        most, read_before = self.max_num_scheduled_tokens, _computed(urgent)
        leaving = self._leave_out(least if reading else None)
        held = self._others(urgent) if leaving else self._users(self._adapter_to_free(stuck))
        if reading:
            # Who only begins in a step that all take is read in the next, which is his.
            self.max_num_scheduled_tokens = min(most, self._tokens(reading if leaving else begun))
        if held:
            self.waiting.remove_requests(held)
        try:
            yield
        finally:
            self.max_num_scheduled_tokens = most
            self.waiting.prepend_requests(held)
        if leaving and _computed(urgent) == read_before:
            # There was no memory for them, and there will be when others are done.
            self._left_out = IN_A_ROW

    def _beginners(self) -> tuple[list[Request], list[Request]]:
        """Who waits and can begin now, the most urgent first, and who only lacks an adapter's slot.

        Slots are taken by all that have begun, whether these take the step or leave it out: vLLM
        asks about the former only, and would have too many in the next.
        """
        places = self.max_num_active_reqs - len(self.running) - self.num_waiting_for_streaming_input
        adapters = {_adapter(request) for request in self.running} - {0}
        found: list[Request] = []
        stuck: list[Request] = []
        for request in self.waiting:
            if len(found) >= places:
                break
            if not self._handle_blocked_waiting_request(request):
                continue
            wanted = adapters | ({_adapter(request)} - {0})
            if self.lora_config is not None and len(wanted) > self.lora_config.max_loras:
                stuck.append(request)
            else:
                adapters = wanted
                found.append(request)
        return found, stuck

    def _leave_out(self, least: int | None) -> bool:
        """Have requests from a priority on leave out this step; whether there are any that do."""
        if least is None or all(r.priority < least for r in self.requests.values()):
            self._left_out = 0
            return False
        self._left_out = (self._left_out + 1) % (IN_A_ROW + 1)
        if not self._left_out:
            return False
        for request in self.running:
            if request.priority >= least:
                # vLLM counts the step before it looks; it may have set a later one (pipelines).
                later = max(request.next_decode_eligible_step, self.current_step + 2)
                request.next_decode_eligible_step = later
        return True

    def _others(self, beginners: Sequence[Request]) -> list[Request]:
        """Who waits and is none of these."""
        chosen = {request.request_id for request in beginners}
        return [request for request in self.waiting if request.request_id not in chosen]

    def _adapter_to_free(self, stuck: Sequence[Request]) -> int:
        """The adapter whose slot is soonest free for whoever waits for one: of those that only
        batches use, the one with the fewest requests. 0: nobody waits, or there is none."""
        if not stuck:
            return 0
        least = max(PATIENT, stuck[0].priority + 1)
        kept = {_adapter(request) for request in self.running if request.priority < least}
        users = Counter(_adapter(request) for request in self.running)
        free = [(count, adapter) for adapter, count in users.items() if adapter not in kept | {0}]
        return min(free)[1] if free else 0

    def _users(self, adapter: int) -> list[Request]:
        """Who of batches waits to begin with an adapter."""
        if not adapter:
            return []
        return [r for r in self.waiting if r.priority >= PATIENT and _adapter(r) == adapter]

    def _tokens(self, reading: Sequence[Request]) -> int:
        """Tokens that a step may have: all that these need of whom somebody waits for, and a piece
        of others' prompts; without bound where there is nobody, and was nobody lately."""
        if any(request.priority < PATIENT for request in self.requests.values()):
            self._someone_at = time.monotonic()
        lately = time.monotonic() - self._someone_at < LATELY_S
        if not lately or not self.scheduler_config.enable_chunked_prefill:
            return self.max_num_scheduled_tokens
        # vLLM goes through them in this order, as far as the tokens last.
        self.running.sort(key=_turn)
        going_on = sum(not request.is_prefill_chunk for request in self.running)
        needed = sum(_left(request) for request in reading if request.priority < PATIENT)
        return max(going_on + PIECE, self._pace.tokens_in(STEP_S)) + needed


def _left(request: Request) -> int:
    """Tokens of its prompt that are not read yet."""
    return int(request.num_tokens - request.num_computed_tokens)


def _turn(request: Request) -> tuple[bool, bool]:
    """Its place in a step: first who needs one token, then somebody's prompt, then a batch's."""
    return request.is_prefill_chunk, request.priority >= PATIENT


def _computed(requests: Sequence[Request]) -> int:
    return sum(request.num_computed_tokens for request in requests)


def _adapter(request: Request) -> int:
    """The number of its adapter; 0 for none, as vLLM has it."""
    return request.lora_request.lora_int_id if request.lora_request else 0


class YieldingScheduler(_Yielding, FailsOverflows, Scheduler):
    """For an engine that schedules a step when the one before is done, as on the CPU."""


class AsyncYieldingScheduler(_Yielding, FailsOverflows, AsyncScheduler):
    """For an engine that schedules a step ahead."""


def scheduler(*, vllm_config: Any, **arguments: Any) -> Scheduler:
    """The scheduler of an engine, as vLLM makes it."""
    ahead = vllm_config.scheduler_config.async_scheduling
    made = AsyncYieldingScheduler if ahead else YieldingScheduler
    return made(vllm_config=vllm_config, **arguments)
