"""Does an adapter fit its base model, and does it do anything at all? (SPEC §6)

An adapter whose targets match nothing, or whose deltas are all zero, would answer as the
base model does under the expert's name. It is refused at load: fail closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from hive_expert.adapters.base_model import TensorInfo, read_tensors
from hive_expert.errors import AdapterError, Problem

_PREFIX = "base_model.model."
_MANTISSA_AND_EXPONENT = {"F32": (np.uint32, 0x7FFFFFFF), "F16": (np.uint16, 0x7FFF)}
_MANTISSA_AND_EXPONENT["BF16"] = _MANTISSA_AND_EXPONENT["F16"]


def check_fit(adapter: Path, shapes: Mapping[str, tuple[int, int]], max_rank: int) -> int:
    """Check a PEFT LoRA directory against a base model's linear layers; returns its rank.

    Args:
        adapter: directory with `adapter_model.safetensors`.
        shapes: the base's linear layers, module name → (out, in).
        max_rank: the most the server's slots hold.

    Raises:
        AdapterError: every tensor that does not fit, or no effect.
    """
    tensors = list(read_tensors(adapter))
    problems = [p for t in tensors for p in _misfits(t, shapes)]
    rank = max((t.shape[0] for t in tensors if _side(t) == "lora_A"), default=0)
    if rank > max_rank:
        remedy = f"start the server with --max-rank {rank}"
        problems.append(Problem("rank", f"{rank} is above the server's {max_rank}", remedy))
    if not problems and not any(_has_nonzero(t) for t in tensors if _side(t) == "lora_B"):
        problems.append(
            Problem(
                "adapter_model.safetensors",
                "has no effect: no lora_B, or all of them zero",
                "train it, or package the right checkpoint",
            )
        )
    if problems:
        raise AdapterError(*problems)
    return rank


def _side(tensor: TensorInfo) -> str:
    return tensor.name.removesuffix(".weight").rpartition(".")[2]


def _misfits(tensor: TensorInfo, shapes: Mapping[str, tuple[int, int]]) -> Iterator[Problem]:
    module, _, side = tensor.name.removesuffix(".weight").rpartition(".")
    if side not in ("lora_A", "lora_B"):
        yield Problem(tensor.name, "not a LoRA tensor", "only lora_A and lora_B are served")
        return
    layer = shapes.get(module.removeprefix(_PREFIX))
    if layer is None:
        yield Problem(tensor.name, "no such layer in the base model")
        return
    out_size, in_size = layer
    axis, expected = (1, in_size) if side == "lora_A" else (0, out_size)
    if len(tensor.shape) != 2 or tensor.shape[axis] != expected:
        yield Problem(tensor.name, f"shape {tensor.shape} does not fit the layer's {layer}")


def _has_nonzero(tensor: TensorInfo) -> bool:
    if tensor.dtype not in _MANTISSA_AND_EXPONENT:
        raise AdapterError(Problem(tensor.name, f"dtype {tensor.dtype} is not served"))
    dtype, magnitude = _MANTISSA_AND_EXPONENT[tensor.dtype]
    with tensor.file.open("rb") as stream:
        stream.seek(tensor.start)
        bits = np.frombuffer(stream.read(tensor.end - tensor.start), dtype=dtype)
    return bool((bits & dtype(magnitude)).any())
