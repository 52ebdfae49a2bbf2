"""The Triton kernel of the gains, compiled for GPUs that need not be there, down to machine code.

`test_gains_triton` runs this file, in a process that has Triton and no interpreter.
"""

from __future__ import annotations

from typing import Any

import pytest
from triton import compiler
from triton.backends.compiler import GPUTarget

from hive_expert.engine.gains_triton import MAX_BLOCK, _kernel

VALUES = ("out", "values", "factors", "addends")
SIZES = ("width", "out_row", "value_row", "factor_row", "addend_row")


def compiled(capability: int, dtype: str, **fixed: Any) -> Any:
    """As for contiguous columns of a width and addresses that 16 divides, which a launch finds."""
    fixed |= {"BLOCK": MAX_BLOCK, "value_column": 1, "out_column": 1}
    signature = dict.fromkeys(_kernel.arg_names, "i32") | dict.fromkeys(VALUES, f"*{dtype}")
    signature |= {"index": "*i64", "active": "*i8"} | dict.fromkeys(fixed, "constexpr")
    divisible = {
        (position,): [["tt.divisibility", 16]]
        for position, name in enumerate(_kernel.arg_names)
        if name in VALUES + SIZES and name not in fixed
    }
    source = compiler.ASTSource(_kernel, signature, constexprs=fixed, attrs=divisible)
    target = GPUTarget("cuda", capability, 32)
    return compiler.compile(source, target=target, options={"num_warps": 8}).asm


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    "absent", [{}, {"addends": None, "active": None}], ids=["all", "no addends, no flags"]
)
@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "out of place"])
def test_the_kernel_compiles_and_moves_16_bytes_at_a_time(
    capability: int, dtype: str, absent: dict[str, None], in_place: bool
) -> None:
    code = compiled(capability, dtype, IN_PLACE=in_place, **absent)
    assert code["cubin"].startswith(b"\x7fELF")
    assert "st.global.v4.b32" in code["ptx"]
