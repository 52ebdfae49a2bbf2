"""What an expert costs beside its base: time to the first token, and memory (SPEC §3, ``perf``)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

from hive_expert.errors import Problem, TrainingError
from hive_expert.manifest.model import Manifest, Perf
from hive_expert.manifest.slug import model_slug
from hive_expert.package.gather import soft_prompt_file
from hive_expert.training.cases import TestCase
from hive_expert.training.intervals import Rate, bootstrap

BATCH_SIZES = (1, 4, 16)
WARM_UP = 2
"""Questions asked first and not counted: they load the adapter."""
_WEIGHTS = "adapter_model.safetensors"

clock = time.perf_counter


@dataclass(frozen=True, slots=True)
class Overhead:
    """``added_ms``: mean added time to the first token of a request that is alone, by pairs."""

    added_ms: Rate
    batch_sizes: tuple[int, ...]


def measure_overhead(
    cases: Sequence[TestCase], expert: str, base: str, endpoint: str, *, pairs: int = 32
) -> Overhead:
    """Ask expert and base in turn for one token each, then several at once.

    Raises TrainingError when a request fails: a time that left some out would not be one.
    """
    try:
        return asyncio.run(_measure(cases, expert, base, endpoint, pairs))
    except openai.OpenAIError as error:
        raise TrainingError(Problem(endpoint, f"{type(error).__name__}: {error}")) from error


async def _measure(
    cases: Sequence[TestCase], expert: str, base: str, endpoint: str, pairs: int
) -> Overhead:
    key = os.environ.get("OPENAI_API_KEY") or "none"
    async with openai.AsyncOpenAI(base_url=endpoint, api_key=key, timeout=300.0) as client:
        differences = []
        for number in range(WARM_UP + pairs):
            case = cases[number % len(cases)]
            # Who goes first alternates: the second finds caches warm that the first filled.
            order = (expert, base) if number % 2 else (base, expert)
            seconds = {model: await _first_token(client, model, case) for model in order}
            if number >= WARM_UP:
                differences.append(1000 * (seconds[expert] - seconds[base]))
        for size in BATCH_SIZES:
            several = (cases[i % len(cases)] for i in range(size))
            await asyncio.gather(*(_first_token(client, expert, case) for case in several))
    return Overhead(bootstrap(differences), BATCH_SIZES)


async def _first_token(client: openai.AsyncOpenAI, model: str, case: TestCase) -> float:
    messages: Any = [dict(message) for message in case.messages]
    started = clock()
    await client.chat.completions.create(
        model=model, messages=messages, temperature=0.0, max_tokens=1
    )
    return clock() - started


def with_perf(manifest: Manifest, overhead: Overhead, directory: Path) -> Manifest:
    """The manifest with its ``perf`` replaced.

    Memory is the size of the files that the engine loads, an adapter's weights and a soft prompt's,
    for the base model where they are largest.
    """
    perf = Perf(
        latency_ms_overhead=round(overhead.added_ms.value, 2),
        vram_mb_overhead=round(_weight_bytes(manifest, directory) / 2**20, 2),
        supported_batch_sizes=overhead.batch_sizes,
    )
    return manifest.model_copy(update={"perf": perf})


def _weight_bytes(manifest: Manifest, directory: Path) -> int:
    prompt = manifest.applied_soft_prompt
    return max(
        sum(_size(directory / adapter.path) for adapter in entry.adapters)
        + (_size(soft_prompt_file(directory, prompt.path, model_slug(entry.name))) if prompt else 0)
        for entry in manifest.base_models
    )


def _size(path: Path) -> int:
    """Of a weight file, or the one in PEFT's folder; 0 where it is not there."""
    file = path / _WEIGHTS if path.is_dir() else path
    return file.stat().st_size if file.is_file() else 0
