"""Names of attention kernels that manifests use, and what each of them means."""

from __future__ import annotations

from collections.abc import Mapping

KERNELS: Mapping[str, str] = {
    "flash": "flash",
    "flash_attn": "flash",
    "flash_attention": "flash",
    "flash_attention_2": "flash",
    "flash_attention_3": "flash",
    "flashinfer": "flashinfer",
    "triton": "triton",
    "sdpa": "sdpa",
}
"""Name in a manifest → family; which of them an engine has depends on its device."""
