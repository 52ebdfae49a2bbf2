"""From what a package applies to what the engine loads, as the server does it."""

from __future__ import annotations

from pathlib import Path

from parity_models import Source

from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.engine_format import read_soft_prompt
from hive_expert.adapters.fit import check_fit
from hive_expert.adapters.peft_adapter import read_adapter
from hive_expert.adapters.soft_prompt import read_header
from hive_expert.adapters.store import AdapterStore, ready_for_engine

PLACEHOLDER = 0
"""The token that stands in a prompt for each row of a soft prompt; which one is all the same."""


def make_ready(
    source: Source, name: str, base: BaseWeights, store: AdapterStore, max_rank: int
) -> Path:
    """The directory the engine loads, after all checks of the server."""
    adapter = None if source.adapter is None else read_adapter(source.adapter)
    if adapter is not None:
        check_fit(adapter, base.shapes, max_rank)
    prompt = None if source.soft_prompt is None else read_header(source.soft_prompt, base)
    return ready_for_engine(adapter, name, base, store, prompt)


def virtual_tokens(directory: Path) -> int:
    """Rows of the soft prompt in a directory that the engine loads."""
    rows = read_soft_prompt(directory)
    return 0 if rows is None else len(rows)
