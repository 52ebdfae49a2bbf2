"""Does an adapter answer otherwise than the base does? An optional probe when it is loaded.

What can be seen in the files is seen before (`adapters.fit`): targets that match nothing, updates
that are all zero. What no file shows is an update too small for the engine's number type, which
would answer as the base under its own name. Here one prompt is given to both. SPEC section 6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

from vllm.lora.request import LoRARequest
from vllm.sampling_params import SamplingParams

from hive_expert.adapters.engine_format import read_soft_prompt
from hive_expert.errors import AdapterError, Problem

TOP = 20
"""Tokens whose log probabilities are compared: those the base finds likeliest."""

PROBE = tuple(range(100, 132))
"""Token ids of the prompt. Which ones makes no difference: any change of a layer shows."""


async def require_effect(client: Any, adapter: LoRARequest) -> None:
    """Compare an adapter's next token with the base's.

    Raises:
        AdapterError: the log probabilities are the same, to the bit; or they are no numbers.
    """
    rows = read_soft_prompt(Path(adapter.lora_path))
    virtual = [] if rows is None else [PROBE[0]] * len(rows)
    base = await _next_token(client, [*PROBE], None)
    found = await _next_token(client, [*virtual, *PROBE], adapter)
    if not found:
        raise AdapterError(
            Problem(
                adapter.lora_name,
                "its numbers overflow on a plain prompt",
                "its weights are at fault; tell its publisher",
            )
        )
    if found == base:
        raise AdapterError(
            Problem(
                adapter.lora_name,
                "has no effect: it answers exactly as the base model does",
                "serve it in float32 (--dtype float32), or train it further",
            )
        )


async def _next_token(
    client: Any, prompt: list[int], adapter: LoRARequest | None
) -> dict[int, float]:
    """Token id → log probability, of the likeliest next tokens; none where the engine gives up."""
    sampling = SamplingParams(temperature=0, max_tokens=1, logprobs=TOP, detokenize=False)
    answers = [
        answer
        async for answer in client.generate(
            {"prompt_token_ids": prompt}, sampling, f"probe-{uuid4().hex}", lora_request=adapter
        )
    ]
    answer = answers[-1]
    if answer.outputs[0].finish_reason == "error":
        return {}
    (found,) = answer.outputs[0].logprobs
    return {token: entry.logprob for token, entry in found.items()}
