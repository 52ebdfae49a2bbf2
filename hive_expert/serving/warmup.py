"""Compile the experts' grammars once the server is up, before a user has to wait for one.

Each is first tried in a child process (`structures.py`); an expert whose grammar fails there is
taken out of the catalog with its reason. Then the engine generates one token under it, since vLLM
keeps what it compiled by the grammar's text.

Schemas of prompts are not known before. But what takes longest in each, a text of so many
characters, is the same in all of them, and compilers keep it.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from vllm.sampling_params import SamplingParams, StructuredOutputsParams

from hive_expert.decoding.admission import Structure
from hive_expert.decoding.binding import SchemaInPrompt
from hive_expert.decoding.bounds import TEXT_LENGTHS, Bounds
from hive_expert.decoding.enforceable import enforceable
from hive_expert.errors import CatalogError, EngineError
from hive_expert.serving.apply import structured_outputs
from hive_expert.serving.state import Hive
from hive_expert.serving.structures import Structures

log = logging.getLogger("hive_expert.serving")

MAX_WARMED = 32
"""Grammars compiled ahead; the engine's cache holds about as many of a large vocabulary. Those of
the other experts are tried when they are first asked."""
WARMED_TEXTS = TEXT_LENGTHS[:2]
"""Characters; longer ones take as long again for each time they double."""


async def warm_grammars(client: Any, hive: Hive, structures: Structures) -> None:
    """Try and compile each expert's grammar. One that fails is withdrawn, and logged by name."""
    constrained = [e for e in hive.catalog.versions if e.contract.structure is not None]
    for expert in constrained[:MAX_WARMED]:
        started = time.perf_counter()
        try:
            await structures.require_expert(expert)
            await _one_token(client, structured_outputs(expert.contract), expert.digest)
        except CatalogError as error:
            hive.supply.withdraw(expert, error.problems)
            continue
        except EngineError as error:
            log.warning("%s: its grammar is not compiled yet: %s", expert.name, error)
            continue
        log.debug("%s: grammar compiled in %.1f s", expert.name, time.perf_counter() - started)
    if any(isinstance(e.contract.binding, SchemaInPrompt) for e in hive.catalog.versions):
        await _warm_texts(client, structures)


async def _warm_texts(client: Any, structures: Structures) -> None:
    for characters in WARMED_TEXTS:
        schema = {"type": "object", "properties": {"text": {"type": "string"}}}
        bounded = json.dumps(enforceable(schema, Bounds(characters)))
        if await structures.fits(Structure("json_schema", bounded)):
            await _one_token(client, StructuredOutputsParams(json=bounded), f"text-{characters}")


async def _one_token(
    client: Any, structure: StructuredOutputsParams | None, request_id: str
) -> None:
    params = SamplingParams(max_tokens=1, temperature=0, structured_outputs=structure)
    prompt = {"prompt_token_ids": [0]}
    async for _ in client.generate(prompt, params, request_id=f"warm-{request_id}"):
        pass
