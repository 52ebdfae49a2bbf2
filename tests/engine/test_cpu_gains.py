"""The compiled operator for gains of slots against its definition in float64."""

from __future__ import annotations

import pytest
import torch

from hive_expert.engine.cpu_kernel import choice
from tests.engine.lora_layers import TOLERANCE


def gains_case(dtype: torch.dtype, width: int, tokens: list[int]) -> tuple[torch.Tensor, ...]:
    """Values, factors, addends and which slots are active: 0 and 2 of three."""
    generator = torch.Generator().manual_seed(width)
    values, factors, addends = (
        torch.randn(rows, width, generator=generator).to(dtype) for rows in (len(tokens), 4, 4)
    )
    return values, factors, addends, torch.tensor([1, 0, 1, 0], dtype=torch.int8)


def gains_expected(
    values: torch.Tensor, factors: torch.Tensor, addends: torch.Tensor | None, tokens: list[int]
) -> torch.Tensor:
    rows = values.double()
    for row, slot in enumerate(tokens):
        if slot in (0, 2):
            rows[row] = rows[row] * (1 + factors[slot].double())
            if addends is not None:
                rows[row] += addends[slot].double()
    return rows


TOKENS = [0, -1, 2, 1, 0, 2, -1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [1, 15, 16, 33, 576, 6000])
@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.usefixtures("native", "threads")
def test_gains_are_those_of_each_tokens_slot(
    dtype: torch.dtype, width: int, shifted: bool, in_place: bool
) -> None:
    values, factors, addends, active = gains_case(dtype, width, TOKENS)
    shifts = addends if shifted else None
    before = values.clone()
    expected = gains_expected(values, factors, shifts, TOKENS)
    index = torch.tensor(TOKENS)
    found = choice.apply_gains_natively(values, factors, shifts, index, active, in_place=in_place)
    assert torch.allclose(found.double(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert torch.equal(values, found if in_place else before)
    # Tokens without gains are left alone to the bit.
    untouched = [row for row, slot in enumerate(TOKENS) if slot not in (0, 2)]
    assert torch.equal(found[untouched], before[untouched])


@pytest.mark.usefixtures("native")
def test_gains_take_rows_that_lie_apart() -> None:
    wide, factors, addends, active = gains_case(torch.float32, 48, TOKENS)
    values, some = wide[:, :32], (factors[:, :32].contiguous(), addends[:, :32].contiguous())
    expected, rest = gains_expected(values, *some, TOKENS), wide[:, 32:].clone()
    index = torch.tensor(TOKENS)
    found = choice.apply_gains_natively(values, *some, index, active, in_place=True)
    assert torch.allclose(found.double(), expected, atol=1e-5)
    assert torch.equal(wide[:, 32:], rest)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"index": torch.tensor([4] * 7)}, "no slot 4"),
        ({"index": torch.tensor([-2] * 7)}, "no slot -2"),
        ({"index": torch.tensor([0])}, "an entry for each token"),
        ({"factors": torch.zeros(3, 8)}, "a row for each flag"),
        ({"factors": torch.zeros(4, 7)}, "a row for each flag"),
        ({"addends": torch.zeros(4, 8, dtype=torch.float16)}, "a row for each flag"),
        ({"values": torch.zeros(8, 7).t()}, "contiguous rows"),
    ],
)
@pytest.mark.usefixtures("native")
def test_gains_of_other_shapes_are_refused(wrong: dict[str, torch.Tensor], says: str) -> None:
    values, factors, addends, active = gains_case(torch.float32, 8, TOKENS)
    right = {"values": values, "factors": factors, "addends": addends, "active": active}
    with pytest.raises(RuntimeError, match=says):
        choice.apply_gains_natively(
            **{**right, "index": torch.tensor(TOKENS), **wrong}, in_place=True
        )
