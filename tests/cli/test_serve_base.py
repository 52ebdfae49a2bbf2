"""What a user is told of the base's precision when the server starts."""

from __future__ import annotations

from typing import Any

import pytest

from hive_expert.cli.serve_base import precision_told
from hive_expert.engine import precision
from hive_expert.engine.base_options import BaseOptions, ServedBase


@pytest.mark.parametrize(
    ("dtype", "platform", "computes", "told"),
    [
        ("auto", "cpu", True, ""),
        ("bfloat16", "cpu", True, ""),
        ("float16", "cuda", False, ""),
        ("float32", "cpu", False, " in float32, the fastest on this processor"),
        ("bfloat16", "cpu", False, "has to emulate (--dtype float32 is faster)"),
    ],
)
def test_an_unusual_precision_is_told(
    dtype: Any, platform: Any, computes: bool, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "computes_16_bits", lambda: computes)
    said = precision_told(ServedBase(BaseOptions(dtype), {}, platform))
    assert said.endswith(told) and bool(said) == bool(told)
