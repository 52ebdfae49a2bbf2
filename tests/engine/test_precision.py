"""A base runs in 16 bits only where the processor computes in them, unless somebody asks for it."""

from __future__ import annotations

import pytest
import torch

from hive_expert.engine import precision


@pytest.mark.parametrize(
    ("platform", "computes", "dtype"),
    [("cpu", True, "auto"), ("cpu", False, "float32"), ("cuda", False, "auto")],
)
def test_who_asks_for_nothing_gets_what_is_fast(
    platform: precision.Platform, computes: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "computes_16_bits", lambda: computes)
    assert precision.unasked_dtype(platform) == dtype


def test_16_bits_are_those_that_torch_has_products_for() -> None:
    has_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    assert precision.computes_16_bits() or not has_avx512
