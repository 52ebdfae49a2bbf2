"""Compile the experts' grammars once the server is up, before a user has to wait for one.

A grammar of a few hundred states over 49,000 tokens takes a second or two of one core; vLLM
keeps the result by the grammar's text. So one token is generated under each, in turn.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from vllm.sampling_params import SamplingParams

from hive_expert.catalog.catalog import Catalog, Expert
from hive_expert.serving.apply import structured_outputs

log = logging.getLogger("hive_expert.serving")

MAX_WARMED = 32
"""Grammars compiled ahead; the engine's cache holds about as many of a large vocabulary."""


async def warm_grammars(client: Any, catalog: Catalog) -> None:
    """Compile each expert's grammar. One that the compiler refuses is logged by name."""
    constrained = [e for e in catalog.experts.values() if structured_outputs(e.contract)]
    for expert in constrained[:MAX_WARMED]:
        started = time.perf_counter()
        try:
            await _one_token(client, expert)
        except ValueError as error:  # what vLLM raises for a grammar it cannot compile
            log.warning("%s: its grammar does not compile: %s", expert.name, error)
            continue
        log.debug("%s: grammar compiled in %.1f s", expert.name, time.perf_counter() - started)


async def _one_token(client: Any, expert: Expert) -> None:
    params = SamplingParams(
        max_tokens=1, temperature=0, structured_outputs=structured_outputs(expert.contract)
    )
    prompt = {"prompt_token_ids": [0]}
    async for _ in client.generate(prompt, params, request_id=f"warm-{expert.digest}"):
        pass
