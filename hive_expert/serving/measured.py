"""Counts what the engine does for a request: one place for chat, completions and all the others."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from hive_expert.serving.observation import CURRENT, Observation


class MeasuringClient:
    """Stands before vLLM's engine client, for the classes that serve requests.

    Law: outputs pass as they are; a request's observation gets their tokens, and the time of the
    first one.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def generate(self, *arguments: Any, **options: Any) -> Any:
        outputs = self._inner.generate(*arguments, **options)
        seen = CURRENT.get()
        return outputs if seen is None else _measured(outputs, seen)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def _measured(outputs: Any, seen: Observation) -> AsyncIterator[Any]:
    before_s = time.perf_counter() - seen.started
    prompt_counted = False
    async with aclosing(outputs):
        async for output in outputs:
            if seen.first_token_s is None and any(o.token_ids for o in output.outputs):
                seen.first_token_s = before_s + _latency(output, seen, before_s)
            if not prompt_counted:
                prompt_counted = True
                seen.prompt_tokens += len(output.prompt_token_ids or ())
                seen.cached_tokens += output.num_cached_tokens or 0
            # vLLM's servers ask for what is new in each output, or for the last one alone.
            seen.completion_tokens += sum(len(o.token_ids) for o in output.outputs)
            yield output


def _latency(output: Any, seen: Observation, before_s: float) -> float:
    """From the engine's start to the first token; the output itself may hold all of them."""
    measured = getattr(output.metrics, "first_token_latency", 0.0)
    return float(measured) or seen.seconds - before_s
