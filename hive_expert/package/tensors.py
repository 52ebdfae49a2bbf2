"""A strict reading of safetensors files, without torch. SPEC section 4.

The safetensors library accepts duplicate names, names like `../x`, NaN, and headers of any
number of tensors. What is loaded into the engine is checked here first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

from hive_expert.errors import Problem, TensorError
from hive_expert.manifest.adapter_model import Adapter, SoftPrompt
from hive_expert.manifest.strict_json import read_json
from hive_expert.package.peft_settings import NO_PATTERNS, Patterns

MAX_HEADER_BYTES = 1 << 20
MAX_TENSORS = 10_000
MAX_SOFT_PROMPT_TENSORS = 16  # one is right; a package may have 63 such files to be read
MAX_DIMENSIONS = 4

# Bytes of an element, and the exponent bits that are all set in NaN and infinity.
_DTYPES = {"F32": (4, 0x7F80_0000), "F16": (2, 0x7C00), "BF16": (2, 0x7F80)}
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_ADAPTER_NAME = re.compile(
    r"base_model\.model\.(?P<layer>(?:[A-Za-z0-9_]+\.)*(?P<module>[A-Za-z0-9_]+))"
    r"\.(?P<part>lora_[AB](?=\.weight)|lora_magnitude_vector|ia3_l)(?:\.weight)?"
)
_PARTS = {
    "lora": ("lora_A", "lora_B"),
    "dora": ("lora_A", "lora_B", "lora_magnitude_vector"),
    "ia3": ("ia3_l",),
}
SOFT_PROMPT_TENSOR = "prompt_embeddings"
"""The one tensor of a soft prompt's file, by the name that PEFT's prompt tuning gives it."""
_PREFIX_BYTES = 8  # the length of the header
_MAX_ENTRY_BYTES = 4 << 10
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: where it lies in the file's data, and whether it is nothing but zeros."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int
    zero: bool = False


def read_tensors(path: Path, where: str) -> tuple[Tensor, ...]:
    """:func:`scan_tensors` for a file on the disk."""
    with path.open("rb") as file:
        chunks = iter(partial(file.read, _READ_BYTES), b"")
        return scan_tensors(chunks, path.stat().st_size, where)


def scan_tensors(
    chunks: Iterator[bytes | memoryview], size: int, where: str, *, max_tensors: int = MAX_TENSORS
) -> tuple[Tensor, ...]:
    """Check a safetensors file of ``size`` bytes while they pass by: header, layout and values.

    The tensors lie in the file without gap or overlap, in one of F32, F16 and BF16, and hold
    neither NaN nor infinity. Raises TensorError with every problem found.

    Law: how the bytes are cut into chunks makes no difference. Memory: the header, a chunk, and
    a few numbers for each tensor.
    """
    # numpy takes a tenth of a second to import; only weights need it.
    from hive_expert.package.magnitudes import Magnitudes

    prefix, rest = _cut(chunks, _PREFIX_BYTES)
    length = int.from_bytes(prefix, "little")
    max_header = min(MAX_HEADER_BYTES, max_tensors * _MAX_ENTRY_BYTES)
    if not 2 <= length <= min(max_header, size - _PREFIX_BYTES):
        raise TensorError(
            Problem(where, f"has no safetensors header of at most {max_header} bytes")
        )
    text, rest = _cut(rest, length)
    header = read_json(text, where, error=TensorError, max_bytes=MAX_HEADER_BYTES)
    tensors = parse_header(header, size - _PREFIX_BYTES - length, where, max_tensors=max_tensors)
    magnitudes = Magnitudes((_DTYPES[t.dtype][0], prod(t.shape)) for t in tensors)
    for chunk in rest:
        magnitudes.feed(chunk)
    if not magnitudes.complete:
        raise TensorError(Problem(where, "ends too early"))
    return tuple(_with_values(tensors, magnitudes.largest(), where))


def parse_header(
    header: Any, data_bytes: int, where: str, *, max_tensors: int = MAX_TENSORS
) -> tuple[Tensor, ...]:
    """The tensors a header declares, in file order, for ``data_bytes`` of data. Pure.

    Raises TensorError with every problem found.
    """
    if not isinstance(header, dict):
        raise TensorError(Problem(where, "the header is not a JSON object"))
    metadata = header.pop("__metadata__", {})
    problems = []
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        problems.append(Problem(where, "__metadata__ is not a table of texts"))
    if not 1 <= len(header) <= max_tensors:
        problems.append(Problem(where, f"has {len(header)} tensors, not 1 to {max_tensors}"))
        raise TensorError(*problems)
    tensors = []
    for name, entry in header.items():
        found = _parse_entry(name, entry)
        if isinstance(found, str):
            problems.append(Problem(f"{where}: {name[:80]}", found))
        else:
            tensors.append(found)
    if problems:
        raise TensorError(*problems)
    tensors.sort(key=lambda t: t.begin)
    position = 0
    for tensor in tensors:
        if tensor.begin != position:
            raise TensorError(Problem(f"{where}: {tensor.name}", "does not follow the one before"))
        position = tensor.end
    if position != data_bytes:
        raise TensorError(
            Problem(where, f"declares {position} bytes of tensors and has {data_bytes}")
        )
    return tuple(tensors)


def check_adapter(
    tensors: Iterable[Tensor], adapter: Adapter, where: str, patterns: Patterns = NO_PATTERNS
) -> int:
    """Check that the tensors are the adapter the manifest declares; its largest rank. Pure.

    Every tensor is a part of a declared target: A (r, in) and B (out, r), with another r where
    ``patterns`` names the layer; for DoRA also a magnitude (out), for IA3 one vector alone. Every
    declared target has all its parts. Some update is not zero (an expert without effect is refused,
    SPEC section 6); whether DoRA or IA3 does anything shows beside the base model's weights only.
    IA3 has the rank 0. Raises TensorError with every problem found.
    """
    problems, largest = [], 0
    layers: dict[str, dict[str, Tensor]] = {}
    modules = set()
    for tensor in tensors:
        match = _ADAPTER_NAME.fullmatch(tensor.name)
        if match is None or match["part"] not in _PARTS[adapter.type]:
            what = f"is not part of the declared {adapter.type} adapter"
            problems.append(Problem(f"{where}: {tensor.name}", what))
        elif match["module"] not in adapter.target_modules:
            problems.append(
                Problem(f"{where}: {tensor.name}", "adapts a module the manifest does not list")
            )
        else:
            modules.add(match["module"])
            layers.setdefault(match["layer"], {})[match["part"]] = tensor
    for layer, parts in layers.items():
        rank = patterns.rank_of(layer, adapter.r or 0)
        problems += [Problem(f"{where}: {layer}", what) for what in _misfits(parts, adapter, rank)]
        largest = max(largest, rank)
    problems += [
        Problem(where, f"has no weights for the declared target {module}")
        for module in adapter.target_modules
        if module not in modules
    ]
    idle = all(any(t.zero for t in parts.values()) for parts in layers.values())
    if adapter.type == "lora" and idle and not problems:
        problems.append(Problem(where, "has no effect: every update is zero", "train it first"))
    if problems:
        raise TensorError(*problems)
    return largest


def check_soft_prompt(tensors: Iterable[Tensor], prompt: SoftPrompt, where: str) -> None:
    """Check that the tensors are the soft prompt the manifest declares. Pure.

    That is one matrix (tokens, hidden); how wide it must be, only the base model tells.
    Raises TensorError with every problem found.
    """
    problems = []
    found = {tensor.name: tensor for tensor in tensors}
    matrix = found.pop(SOFT_PROMPT_TENSOR, None)
    for name in found:
        what = f"is not part of a soft prompt, which is {SOFT_PROMPT_TENSOR} alone"
        problems.append(Problem(f"{where}: {name}", what))
    if matrix is None:
        problems.append(Problem(where, f"has no tensor {SOFT_PROMPT_TENSOR}"))
    elif len(matrix.shape) != 2:
        problems.append(Problem(f"{where}: {matrix.name}", "is not a matrix (tokens, hidden)"))
    elif matrix.shape[0] != prompt.tokens:
        what = f"has {matrix.shape[0]} tokens and the manifest says {prompt.tokens}"
        problems.append(Problem(f"{where}: {matrix.name}", what))
    if problems:
        raise TensorError(*problems)


def _parse_entry(name: str, entry: Any) -> Tensor | str:
    """The tensor, or what is wrong with it."""
    if not _NAME.fullmatch(name):
        return "is not a tensor name of letters, digits, _ and ."
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        return "needs exactly dtype, shape and data_offsets"
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        return f"has the dtype {dtype!r:.20}, not one of {', '.join(_DTYPES)}"
    if not _sizes(shape) or not 1 <= len(shape) <= MAX_DIMENSIONS or 0 in shape:
        return "has no shape of one to four positive dimensions"
    if not _sizes(offsets) or len(offsets) != 2:
        return "has no begin and end in data_offsets"
    if offsets[1] - offsets[0] != prod(shape) * _DTYPES[dtype][0]:
        return "has data_offsets that do not fit its shape and dtype"
    return Tensor(name, dtype, tuple(shape), offsets[0], offsets[1])


def _cut(
    chunks: Iterator[bytes | memoryview], size: int
) -> tuple[bytes, Iterator[bytes | memoryview]]:
    """The first ``size`` bytes (fewer if there are no more), and what comes after them."""
    head = bytearray()
    for chunk in chunks:
        missing = size - len(head)
        head += chunk[:missing]
        if len(head) == size:
            return bytes(head), chain((chunk[missing:],), chunks)
    return bytes(head), iter(())


def _with_values(tensors: tuple[Tensor, ...], largest: list[int], where: str) -> Iterator[Tensor]:
    """The tensors with ``zero`` filled in, from the bits of their largest magnitudes."""
    measured = list(zip(tensors, largest, strict=True))
    bad = [t.name for t, bits in measured if bits >= _DTYPES[t.dtype][1]]
    if bad:
        raise TensorError(*(Problem(f"{where}: {n}", "holds NaN or infinity") for n in bad))
    for tensor, bits in measured:
        yield replace(tensor, zero=bits == 0)


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _misfits(parts: dict[str, Tensor], adapter: Adapter, rank: int) -> Iterator[str]:
    for name in _PARTS[adapter.type]:
        if name not in parts:
            yield f"has no {name}"
    for name, position in (("lora_A", 0), ("lora_B", 1)):
        tensor = parts.get(name)
        if tensor is None:
            continue
        if len(tensor.shape) != 2:
            yield f"{name} is not a matrix"
        elif tensor.shape[position] != rank:
            source = "the manifest" if rank == adapter.r else "its rank_pattern"
            yield f"has rank {tensor.shape[position]} and {source} says {rank}"
            return
