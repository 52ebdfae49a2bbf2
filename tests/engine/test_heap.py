"""Free memory goes back to the system now and then, not at every adapter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from hive_expert.engine.heap import TRIM_EVERY, Heap, trim_of_c_library


def test_every_so_many_adapters_the_heap_is_trimmed() -> None:
    trims: list[None] = []
    heap = Heap(lambda: trims.append(None))
    for _ in range(3 * TRIM_EVERY - 1):
        heap.adapter_read()
    assert len(trims) == 2
    heap.adapter_read()
    assert len(trims) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and other systems need no trim")
def test_trimming_gives_back_what_is_free_between_blocks_in_use() -> None:
    # Below the size from which each block is mapped by itself, with every fourth one kept.
    blocks = [torch.zeros(24_000) for _ in range(2_000)]
    kept = blocks[::4]
    del blocks
    before = _resident()
    trim_of_c_library()()
    assert before - _resident() > 50 * 2**20
    assert len(kept) == 500


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
