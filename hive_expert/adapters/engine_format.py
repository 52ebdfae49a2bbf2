"""The normal form on disk, as the engine loads it.

A plain LoRA directory in PEFT's layout, and beside it `gains.safetensors` with
``<module>.gamma|shift|beta`` where there are any, and `soft_prompt.safetensors` where the form has
one. With either, `adapter_config.json` says `use_dora`, so that a vLLM without our plugin refuses
the directory rather than serve half of it. Every number is float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hive_expert.adapters.normal_form import LayerDelta, NormalForm
from hive_expert.adapters.peft_config import CONFIG_FILE, WEIGHTS_FILE
from hive_expert.errors import AdapterError, Problem

GAINS_FILE = "gains.safetensors"
OWN_KEY = "hive_expert"
"""Key of `adapter_config.json` under which we keep what PEFT has no word for."""

SOFT_PROMPT_FILE = "soft_prompt.safetensors"
SOFT_PROMPT = "prompt_embeddings"
"""The soft prompt's one tensor, (tokens, hidden), by the name PEFT gives it."""

FORMAT = 2
GAINS = ("gamma", "shift", "beta")

_PREFIX = "base_model.model."


def write_form(form: NormalForm, directory: Path) -> None:
    """Write a form into an existing, empty directory.

    Law: `read_form` gives the same form back.
    """
    lora: dict[str, Tensor] = {}
    gains: dict[str, Tensor] = {}
    for module, delta in _with_low_rank_part(form).items():
        if delta.rank:
            lora[f"{_PREFIX}{module}.lora_A.weight"] = delta.a.float().contiguous()
            lora[f"{_PREFIX}{module}.lora_B.weight"] = delta.b.float().contiguous()
        gains |= {
            f"{module}.{part}": tensor.float().contiguous()
            for part, tensor in delta.tensors()
            if part in GAINS
        }
    save_file(lora, directory / WEIGHTS_FILE)
    if gains:
        save_file(gains, directory / GAINS_FILE)
    if form.soft_prompt is not None:
        rows = form.soft_prompt.float().contiguous()
        save_file({SOFT_PROMPT: rows}, directory / SOFT_PROMPT_FILE)
    config = _config(form, bool(gains), modules=[m for m, d in form.layers.items() if d.rank])
    (directory / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")


def is_form(directory: Path) -> bool:
    """Whether a directory was written by `write_form`, and is no adapter of PEFT's own."""
    try:
        return OWN_KEY in json.loads((directory / CONFIG_FILE).read_bytes())
    except (OSError, ValueError):
        return False


def read_form(directory: Path) -> NormalForm:
    """The form that `write_form` wrote.

    Raises:
        AdapterError: the directory is none of ours, or damaged.
    """
    try:
        own = json.loads((directory / CONFIG_FILE).read_bytes())[OWN_KEY]
        if own["format"] != FORMAT:
            raise AdapterError(Problem(CONFIG_FILE, f"has the format {own['format']!r:.20}"))
        lora = load_file(directory / WEIGHTS_FILE)
        gains = read_gains(directory)
        layers = {}
        for module, (out_size, in_size) in own["layers"].items():
            a = lora.get(f"{_PREFIX}{module}.lora_A.weight") if module in own["low_rank"] else None
            b = lora.get(f"{_PREFIX}{module}.lora_B.weight") if module in own["low_rank"] else None
            layers[module] = LayerDelta(
                a=torch.empty(0, in_size) if a is None else a,
                b=torch.empty(out_size, 0) if b is None else b,
                **gains.get(module, {}),
            )
        return NormalForm(layers, own["base_fingerprint"], read_soft_prompt(directory))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise AdapterError(Problem(str(directory), f"is not a normal form ({error})")) from error


def read_gains(directory: Path) -> dict[str, dict[str, Tensor]]:
    """The gains of a directory: module → `gamma`, `shift`, `beta` → vector; empty without any.

    Raises:
        AdapterError: the file is damaged, or holds something else.
    """
    path = directory / GAINS_FILE
    if not path.is_file():
        return {}
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise AdapterError(Problem(str(path), f"cannot be read ({error})")) from error
    gains: dict[str, dict[str, Tensor]] = {}
    for name, vector in tensors.items():
        module, _, part = name.rpartition(".")
        if part not in GAINS or vector.dim() != 1:
            raise AdapterError(Problem(f"{path}: {name}", "is not a gain"))
        gains.setdefault(module, {})[part] = vector
    return gains


def read_soft_prompt(directory: Path) -> Tensor | None:
    """The soft prompt of a directory, (tokens, hidden), or None.

    Raises:
        AdapterError: the file is damaged, or holds something else.
    """
    path = directory / SOFT_PROMPT_FILE
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise AdapterError(Problem(str(path), f"cannot be read ({error})")) from error
    rows = tensors.pop(SOFT_PROMPT, None)
    if rows is None or tensors or rows.dim() != 2:
        raise AdapterError(Problem(str(path), f"is not one matrix named {SOFT_PROMPT}"))
    return rows


def has_our_parts(directory: Path) -> bool:
    """Whether a directory has what only our plugin applies: gains or a soft prompt."""
    return any((directory / name).is_file() for name in (GAINS_FILE, SOFT_PROMPT_FILE))


def _with_low_rank_part(form: NormalForm) -> Mapping[str, LayerDelta]:
    """The layers, one of them with a zero A and B if none has any: vLLM wants at least one."""
    if form.rank:
        return form.layers
    module, delta = next(iter(form.layers.items()))
    placeholder = LayerDelta(
        torch.zeros(1, delta.in_size),
        torch.zeros(delta.out_size, 1),
        delta.gamma,
        delta.shift,
        delta.beta,
    )
    return {**form.layers, module: placeholder}


def _config(form: NormalForm, has_gains: bool, modules: list[str]) -> dict[str, Any]:
    # One rank for all with alpha equal to it: the scale is 1, whatever a layer's own rank.
    rank = max(form.rank, 1)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "bias": "none",
        "use_dora": has_gains or form.soft_prompt is not None,
        "target_modules": sorted({m.rpartition(".")[2] for m in form.layers}),
        OWN_KEY: {
            "format": FORMAT,
            "base_fingerprint": form.base_fingerprint,
            "low_rank": modules,
            "layers": {m: [d.out_size, d.in_size] for m, d in form.layers.items()},
        },
    }
