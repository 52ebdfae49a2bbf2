"""How many experts are kept in memory where the user does not say. SPEC section 11."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from hive_expert.manifest.model import Manifest

SHARE = 0.25
"""Of the memory that is free at start, for experts; base model and KV cache need the rest."""
MOST = 512
_MIB = 1 << 20


def planned_capacity(
    manifests: Iterable[Manifest],
    layers: Mapping[str, tuple[int, int]],
    *,
    rank: int,
    element_bytes: int,
    slots: int,
    available: int,
) -> int:
    """How many adapters to keep in memory, those in slots included.

    Each is counted as large as the largest: an adapter of the slots' rank on every layer, or what a
    manifest states as `perf.vram_mb_overhead`, if that is more.

    Args:
        layers: the base model's adaptable layers, (out, in).
        available: bytes of free memory.
    """
    widest = sum(out_size + in_size for out_size, in_size in layers.values())
    stated = (m.perf.vram_mb_overhead for m in manifests if m.perf)
    largest = max([rank * widest * element_bytes, *(int(s * _MIB) for s in stated if s)])
    return max(slots, min(MOST, int(SHARE * available) // max(1, largest)))


def available_memory() -> int:
    """Bytes that the kernel could give out now without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    facts = dict(line.split(":", 1) for line in lines)
    return int(facts["MemAvailable"].split()[0]) * 1024
