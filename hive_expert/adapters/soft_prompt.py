"""Soft prompts: learned embeddings that stand before a request's text. SPEC section 6.

A packaged one is a safetensors file with the one matrix that PEFT's prompt tuning saves,
`prompt_embeddings` (tokens, hidden). In the normal form it goes with the layers of an adapter, or
alone; a request's first positions then take its rows (`engine.soft_prompt`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.engine_format import SOFT_PROMPT
from hive_expert.adapters.normal_form import LayerDelta, NormalForm
from hive_expert.errors import AdapterError, Problem

MAX_TOKENS = 512
"""Virtual tokens of one soft prompt (SPEC section 3); a slot has room for as many."""


@dataclass(frozen=True, slots=True)
class SoftPromptFile:
    """A packaged soft prompt whose header is known to fit the base model.

    Law: at most `MAX_TOKENS` rows, as wide as the base's embeddings.
    """

    path: Path
    tokens: int


def read_header(path: Path, base: BaseWeights) -> SoftPromptFile:
    """Check a packaged soft prompt against its base model, without reading its numbers.

    Raises:
        AdapterError: it is unreadable, of another width than the base, or too long.
    """
    try:
        with safe_open(path, "np") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise AdapterError(Problem(path.name, f"cannot be read ({error})")) from error
    shape = shapes.pop(SOFT_PROMPT, None)
    if shape is None or shapes or len(shape) != 2:
        raise AdapterError(Problem(path.name, f"is not one matrix named {SOFT_PROMPT}"))
    tokens, width = shape
    problems = []
    if width != base.hidden_size:
        what = f"made for embeddings of {width}, the base model's are of {base.hidden_size}"
        problems.append(Problem(path.name, what, "train it on this base"))
    if not 1 <= tokens <= MAX_TOKENS:
        problems.append(Problem(path.name, f"has {tokens} tokens, not 1 to {MAX_TOKENS}"))
    if problems:
        raise AdapterError(*problems)
    return SoftPromptFile(path, tokens)


def neutral_form(base: BaseWeights) -> NormalForm:
    """A form that changes nothing; it names a layer, since the engine loads no adapter of none."""
    module, (out_size, in_size) = min(base.shapes.items())
    return NormalForm({module: LayerDelta(torch.empty(0, in_size), torch.empty(out_size, 0))})


def add_soft_prompt(form: NormalForm, prompt: SoftPromptFile) -> NormalForm:
    """A form with a soft prompt before it.

    Raises:
        AdapterError: the soft prompt holds NaN or infinity.
    """
    with safe_open(prompt.path, "pt") as file:
        rows = file.get_tensor(SOFT_PROMPT).float()
    if not bool(torch.isfinite(rows).all()):
        raise AdapterError(Problem(prompt.path.name, "holds NaN or infinity"))
    return replace(form, soft_prompt=rows)
