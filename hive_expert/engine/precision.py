"""In which precision a processor computes fast.

A base in 16 bits takes half the memory. But a processor without arithmetic for that (x86 before
AVX-512, which is most desktops and laptops) gets it from torch by a loop over its numbers, and then
needs several times as long for an answer as in float32: `benchmarks/precision.py`.
"""

from __future__ import annotations

from hive_expert.engine.base_options import Dtype, Platform


def computes_16_bits() -> bool:
    """Whether torch has matrix products in bfloat16 for this processor."""
    import torch

    # What torch itself goes by, and says of no public name.
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def unasked_dtype(platform: Platform) -> Dtype:
    """The precision of a base where neither flags nor manifests ask for one."""
    return "auto" if platform != "cpu" or computes_16_bits() else "float32"
