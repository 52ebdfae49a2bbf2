"""Requests whose numbers overflow end as failed: what was sampled for them looks like an answer.

Weights may be finite and what the model computes with them not, which no look into an adapter's
files can exclude. So each step tells whose numbers were none, in the field in which vLLM counts
them (`num_nans_in_logits`). On the CPU that is what `finite_cache` saw, of the whole step; vLLM
itself counts, as it does elsewhere, in the logits alone, and so misses what a prompt overflows in
before its last piece. The scheduler then ends those requests: no token of the step reaches a
client, and none of their blocks is found in the prefix cache, where the next one with the same
prompt would get an answer out of what was cleaned away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from vllm import envs
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
from vllm.v1.request import Request, RequestStatus

OVERFLOWED = "overflowed"
"""The `stop_reason` of a request that was ended so; its `finish_reason` is `error`."""


class FailsOverflows:
    """What both of vLLM's schedulers get. Its base is one of them.

    Law: a request that a step tells of ends with that step, in an error and without its tokens; all
    others go on as if it had been aborted.
    """

    requests: dict[str, Request]
    kv_cache_manager: Any
    finish_requests: Any

    def update_from_output(self, scheduler_output: Any, answers: Any) -> Any:
        told = answers.num_nans_in_logits
        failed = self._fail(told) if told else []
        outputs = super().update_from_output(scheduler_output, answers)  # type: ignore[misc]  # vLLM's
        for request in failed:
            of_client = outputs.setdefault(request.client_index, EngineCoreOutputs())
            of_client.outputs.append(
                EngineCoreOutput(
                    request_id=request.request_id,
                    new_token_ids=[],
                    finish_reason=request.get_finished_reason(),
                    stop_reason=OVERFLOWED,
                    events=request.take_events(),
                    trace_headers=request.trace_headers,
                    num_nans_in_logits=told[request.request_id],
                )
            )
        return outputs

    def _fail(self, told: Mapping[str, int]) -> list[Request]:
        overflowed = [name for name, count in told.items() if count and name in self.requests]
        for name in overflowed:
            blocks = self.kv_cache_manager.get_block_ids(name)
            self.kv_cache_manager.evict_blocks({block for group in blocks for block in group})
        if not overflowed:
            return []
        failed: list[Request] = self.finish_requests(overflowed, RequestStatus.FINISHED_ERROR)
        return failed


def install() -> None:
    """Have a worker on the CPU tell what `finite_cache` saw. To be called in workers: others would
    import for nothing what they consist of. Idempotent."""
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    CPUModelRunner._get_nans_in_logits = _overflowed


def is_active(runner: Any) -> bool:
    """Whether a worker tells of requests whose numbers overflow."""
    by_us = getattr(type(runner), "_get_nans_in_logits", None) is _overflowed
    watched = runner.lora_manager.finite_cache is not None
    return by_us == watched and bool(envs.VLLM_COMPUTE_NANS_IN_LOGITS)


def _overflowed(runner: Any, _: Tensor | None) -> dict[str, int]:
    """How many tokens of each request overflowed in the step that was just computed; only of those
    with any. Stands in for vLLM's count in a worker's model runner."""
    manager = getattr(runner, "lora_manager", None)
    if manager is None or manager.finite_cache is None or not len(manager.finite_cache.overflowed):
        return {}
    count = runner.input_batch.num_reqs
    ends = runner.query_start_loc.cpu[1 : count + 1]
    places = torch.bucketize(manager.finite_cache.overflowed, ends, right=True)
    # Rows beyond the last request's only fill the step up.
    tokens = Counter(places[places < count].tolist())
    return {runner.input_batch.req_ids[place]: found for place, found in tokens.items()}
