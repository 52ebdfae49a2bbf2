"""Compile the experts' grammars once the server is up, before a user has to wait for one.

Each is first tried in a child process (`structures.py`); an expert whose grammar fails there is
taken out of the catalog with its reason. Then the engine generates one token under it, since vLLM
keeps what it compiled by the grammar's text.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from vllm.sampling_params import SamplingParams

from hive_expert.catalog.catalog import Expert
from hive_expert.errors import CatalogError, EngineError
from hive_expert.serving.apply import structured_outputs
from hive_expert.serving.state import Hive
from hive_expert.serving.structures import Structures

log = logging.getLogger("hive_expert.serving")

MAX_WARMED = 32
"""Grammars compiled ahead; the engine's cache holds about as many of a large vocabulary. Those of
the other experts are tried when they are first asked."""


async def warm_grammars(client: Any, hive: Hive, structures: Structures) -> None:
    """Try and compile each expert's grammar. One that fails is withdrawn, and logged by name."""
    constrained = [e for e in hive.catalog.versions if e.contract.structure is not None]
    for expert in constrained[:MAX_WARMED]:
        started = time.perf_counter()
        try:
            await structures.require_expert(expert)
            await _one_token(client, expert)
        except CatalogError as error:
            hive.supply.withdraw(expert, error.problems)
            continue
        except EngineError as error:
            log.warning("%s: its grammar is not compiled yet: %s", expert.name, error)
            continue
        log.debug("%s: grammar compiled in %.1f s", expert.name, time.perf_counter() - started)


async def _one_token(client: Any, expert: Expert) -> None:
    params = SamplingParams(
        max_tokens=1, temperature=0, structured_outputs=structured_outputs(expert.contract)
    )
    prompt = {"prompt_token_ids": [0]}
    async for _ in client.generate(prompt, params, request_id=f"warm-{expert.digest}"):
        pass
